//! Validates JSON against the schemas of an OpenAPI document, as far as this one uses them.

use serde_json::Value;

use crate::harness::shape_of;

/// Returns the first mismatch of `value`, if any. Members that the schema does not name are mismatches, because a
/// client that is generated from the document would not know them. Unknown keywords are errors, so that nothing is
/// skipped.
pub fn mismatch(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        return mismatch(document, target.unwrap_or_else(|| panic!("{reference} does not resolve")), value);
    }
    for keyword in shape_of(schema) {
        let wrong = match keyword {
            "description" | "example" | "examples" | "format" | "title" | "default" => None,
            "type" => type_mismatch(&schema["type"], value),
            "enum" => {
                (!list(&schema["enum"]).contains(value)).then(|| format!("{value} is none of {}", schema["enum"]))
            }
            "minimum" => (value.is_number() && value.as_f64() < schema["minimum"].as_f64())
                .then(|| format!("{value} is too small")),
            "properties" | "additionalProperties" => member_mismatch(document, schema, value),
            "propertyNames" => None,
            "required" => {
                let missing =
                    list(&schema["required"]).iter().find(|name| value.get(name.as_str().expect("a name")).is_none());
                missing.map(|name| format!("{name} is missing"))
            }
            "items" => {
                value.as_array().into_iter().flatten().find_map(|item| mismatch(document, &schema["items"], item))
            }
            "allOf" => list(&schema["allOf"]).iter().find_map(|schema| mismatch(document, schema, value)),
            "oneOf" => {
                let fits =
                    list(&schema["oneOf"]).iter().filter(|schema| mismatch(document, schema, value).is_none()).count();
                (fits != 1).then(|| format!("{value} fits {fits} of the alternatives"))
            }
            other => panic!("the document uses {other}, which this test does not know"),
        };
        if wrong.is_some() {
            return wrong;
        }
    }
    None
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn type_mismatch(types: &Value, value: &Value) -> Option<String> {
    let is = |name: &Value| match name.as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("null") => value.is_null(),
        _ => panic!("{name} is no type"),
    };
    let fits = if types.is_array() { list(types).iter().any(is) } else { is(types) };
    (!fits).then(|| format!("{value} is not of type {types}"))
}

fn member_mismatch(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    value.as_object()?.iter().find_map(|(name, member)| {
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) => Some(format!("{name} is not in the schema")),
            (Value::Null, other) => mismatch(document, other, member),
            (known, _) => mismatch(document, known, member).map(|wrong| format!("{name}: {wrong}")),
        }
    })
}

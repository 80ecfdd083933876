//! The page of the HTTP interface, from the OpenAPI document.

use std::collections::BTreeMap;

use serde_json::Value;

use super::markdown::{self, code, escape, table};
use crate::Error;

const INTRODUCTION: &str = "\
HTTP/1.1 with JSON over the daemon's Unix socket. `GET /api/v1/openapi.json` returns the OpenAPI document, which has every field.
Every response has `X-Request-Id`. A request that fails as a whole has a problem (RFC 9457) with a [code](codes.md).
[Access](../deploy/access.md) explains the scopes.";

/// The methods of OpenAPI, in the order of the page.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
/// Longest example in a table, in characters.
const EXAMPLE_MAX: usize = 240;

/// Returns the page.
///
/// # Errors
/// The document is not an OpenAPI document: a bug.
pub fn page() -> Result<String, Error> {
    let document: Value = serde_json::from_str(&masker_http::openapi_json()?)?;
    page_of(&document)
}

fn page_of(document: &Value) -> Result<String, Error> {
    let paths = document["paths"].as_object().ok_or("the OpenAPI document has no paths")?;
    let mut groups: BTreeMap<&str, Vec<Vec<String>>> = BTreeMap::new();
    for (path, operations) in paths {
        for method in METHODS {
            let operation = &operations[method];
            if operation.is_object() {
                groups.entry(group(path)).or_default().push(row(method, path, operation));
            }
        }
    }
    let mut page = markdown::page("HTTP interface", INTRODUCTION);
    // Values come first: they are what applications use.
    let (values, others): (Vec<_>, Vec<_>) = groups.into_iter().partition(|(group, _)| *group == VALUES);
    for (group, rows) in values.into_iter().chain(others) {
        page.push_str(&format!("\n## {group}\n"));
        table(&mut page, &["route", "operation", "scope", "request", "response"], rows);
    }
    Ok(page)
}

const VALUES: &str = "Values and tokens";

/// Returns the heading for a path.
fn group(path: &str) -> &'static str {
    let first = path.trim_start_matches("/api/v1/").split('/').next().unwrap_or_default();
    match first {
        "keys" => "Keys",
        "policies" => "Policies",
        "api-keys" => "API keys",
        "sessions" => "Sessions",
        "text" => "Texts",
        "audit" => "Audit log",
        "reports" => "Reports",
        "vault" if path.contains("/rotations") => "Rotations",
        "vault" if path.contains("/honeytokens") => "Honeytokens",
        "vault" => "Vault",
        "tokenize" | "rehydrate" | "lookup" | "rewrap" | "forget" => VALUES,
        _ => "Service",
    }
}

fn row(method: &str, path: &str, operation: &Value) -> Vec<String> {
    let text = |name: &str| operation[name].as_str().unwrap_or_default();
    // The scope has its own column.
    let description: Vec<&str> = text("description").split("\n\n").filter(|part| !part.starts_with("Needs ")).collect();
    let mut meaning = [text("summary"), &description.join(" ")].join(" ").trim().replace('\n', " ");
    if meaning.is_empty() {
        meaning = "–".to_owned();
    }
    vec![
        code(&format!("{} {path}", method.to_uppercase())),
        escape(&meaning),
        scopes(operation),
        request(operation),
        responses(operation),
    ]
}

/// Returns the scopes of a route. Any one of them is enough.
fn scopes(operation: &Value) -> String {
    let mut scopes: Vec<String> = Vec::new();
    for requirement in operation["security"].as_array().into_iter().flatten() {
        for names in requirement.as_object().into_iter().flat_map(|schemes| schemes.values()) {
            scopes.extend(names.as_array().into_iter().flatten().filter_map(Value::as_str).map(code));
        }
    }
    if scopes.is_empty() { "–".to_owned() } else { scopes.join(" or ") }
}

/// Returns the parameters and the body of a request.
fn request(operation: &Value) -> String {
    let mut parts: Vec<String> = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = code(parameter["name"].as_str().unwrap_or_default());
        match parameter["in"].as_str() {
            Some("path") => {}
            Some("header") => parts.push(format!("header {name}")),
            _ if parameter["required"] == true => parts.push(name),
            _ => parts.push(format!("{name} (optional)")),
        }
    }
    parts.extend(body(&operation["requestBody"]["content"]));
    if parts.is_empty() { "–".to_owned() } else { parts.join(", ") }
}

/// Returns the successful responses. Failures are the same for every route.
fn responses(operation: &Value) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        if status.starts_with('2') {
            let description = escape(response["description"].as_str().unwrap_or_default());
            let content = body(&response["content"]).map(|body| format!(": {body}")).unwrap_or_default();
            parts.push(format!("{status}, {description}{content}"));
        }
    }
    if parts.is_empty() { "–".to_owned() } else { parts.join("; ") }
}

/// Describes a body: its type, and an example if it is short.
fn body(content: &Value) -> Option<String> {
    let (media_type, content) = content.as_object()?.iter().next()?;
    let name = type_name(&content["schema"]);
    let mut text = match media_type.as_str() {
        "application/json" => name.map_or_else(|| "JSON".to_owned(), |name| code(&name)),
        other => code(other),
    };
    if let Some(example) = example(content) {
        text.push_str(&format!(", such as {}", code(&example)));
    }
    Some(text)
}

/// Returns the name of a schema, such as `Answer_TokenizeResult`.
fn type_name(schema: &Value) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return reference.rsplit('/').next().map(str::to_owned);
    }
    match schema["type"].as_str() {
        Some("array") => type_name(&schema["items"]).map(|name| format!("[{name}]")),
        _ => None,
    }
}

fn example(content: &Value) -> Option<String> {
    let example = match &content["example"] {
        Value::Null => content["examples"].as_object()?.values().next()?.get("value")?,
        example => example,
    };
    let text = match example {
        Value::String(text) => text.clone(),
        example => example.to_string(),
    };
    (text.chars().count() <= EXAMPLE_MAX && !text.contains(['\n', '`'])).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn describes_an_operation() {
        let document = json!({"paths": {"/api/v1/tokenize": {"post": {
            "summary": "Swap values.",
            "description": "More | words.\n\nNeeds the scope `tokenize`.",
            "security": [{"api_key": ["tokenize"]}, {}],
            "parameters": [{"name": "X-Masker-Session", "in": "header"}],
            "requestBody": {"content": {"application/json": {
                "schema": {"$ref": "#/components/schemas/TokenizeRequest"}, "example": {"items": []},
            }}},
            "responses": {"200": {"description": "Results", "content": {"text/plain": {}}}, "default": {}},
        }}}});
        let page = page_of(&document).unwrap();
        let row = "| `POST /api/v1/tokenize` | Swap values. More \\| words. | `tokenize` | header `X-Masker-Session`, \
                   `TokenizeRequest`, such as `{\"items\":[]}` | 200, Results: `text/plain` |";
        assert_eq!(page.lines().last(), Some(row));
    }

    #[test]
    fn every_route_is_on_the_page() {
        let document: Value = serde_json::from_str(&masker_http::openapi_json().unwrap()).unwrap();
        let page = page().unwrap();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys().filter(|method| METHODS.contains(&method.as_str())) {
                let route = format!("| `{} {path}` |", method.to_uppercase());
                assert!(page.contains(&route), "{route} is missing");
            }
        }
    }
}

//! The OpenAPI document, made from the route table and the descriptions of its handlers.
//!
//! `openapi.json` beside this crate's `Cargo.toml` is the document as it is now. A test compares the two, so a review
//! shows each change of the interface.

use utoipa::{
    PartialSchema,
    openapi::{
        Components, ContentBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder, Paths, RefOr, Response,
        ResponseBuilder, Schema, ServerBuilder,
        path::Operation,
        schema::Ref,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::route::{Route, routes};
use masker_api::ErrorBody;
use masker_types::error_code::Code;

/// The security scheme of API keys.
const API_KEY: &str = "api_key";

const PROBLEM: &str = "application/problem+json";

const DESCRIPTION: &str = "Swaps personal data for tokens and back. HTTP/1.1 over a Unix socket. Every answer carries \
                           `X-Request-Id`. Failures of whole requests are RFC 9457 problem details with a stable `code`.";

const API_KEY_DESCRIPTION: &str = "An API key. A request without an `Authorization` header acts as the process that made the connection: the kernel \
     attests its user, group and process id (Unix peer credentials, `SO_PEERCRED`), and `[[clients]]` in masker.toml \
     gives them scopes. A request with a key acts as the key alone.";

/// Returns the document as JSON.
///
/// # Errors
/// Only if it does not serialize: a bug.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    build().to_json()
}

fn build() -> OpenApi {
    let mut paths = Paths::new();
    let mut components = Components::new();
    components.schemas.insert("ErrorBody".to_owned(), ErrorBody::schema());
    for route in routes() {
        let mut schemas: Vec<(String, RefOr<Schema>)> = Vec::new();
        (route.schemas)(&mut schemas);
        components.schemas.extend(schemas);
        paths.add_path_operation(route.path(), (route.http_methods)(), operation(route));
    }
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(API_KEY_DESCRIPTION)).build();
    components.security_schemes.insert(API_KEY.to_owned(), SecurityScheme::Http(bearer).into());
    let mut license = License::new("MIT OR Apache-2.0");
    license.identifier = Some("MIT OR Apache-2.0".to_owned());
    let info = InfoBuilder::new()
        .title("masker")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license));
    let server =
        ServerBuilder::new().url("http://localhost").description(Some("The Unix socket; any host name will do"));
    OpenApiBuilder::new()
        .info(info.build())
        .servers(Some([server.build()]))
        .paths(paths)
        .components(Some(components))
        .build()
}

/// Returns a handler's description, with what the route adds to it.
fn operation(route: &Route) -> Operation {
    let mut operation = (route.describe)();
    operation.responses.responses.entry("default".to_owned()).or_insert_with(|| failure().into());
    let scopes: Vec<&str> = route.access().scopes().iter().map(|scope| scope.as_str()).collect();
    let listed = scopes.iter().map(|scope| format!("`{scope}`")).collect::<Vec<_>>().join(", ");
    let needs = match scopes.len() {
        0 => "Needs no scope.".to_owned(),
        1 => format!("Needs the scope {listed}."),
        _ => format!("Needs one of the scopes {listed}."),
    };
    operation.description = Some(match operation.description.filter(|text| !text.is_empty()) {
        Some(text) => format!("{text}\n\n{needs}"),
        None => needs,
    });
    // Each scope is an alternative, because one of them is enough. The empty requirement means peer credentials.
    let alternatives = scopes.iter().map(|scope| SecurityRequirement::new(API_KEY, [*scope]));
    let mut security: Vec<SecurityRequirement> = alternatives.collect();
    if security.is_empty() {
        security.push(SecurityRequirement::new(API_KEY, [] as [&str; 0]));
    }
    security.push(SecurityRequirement::default());
    operation.security = Some(security);
    operation
}

/// Describes the answer to a request that failed as a whole.
fn failure() -> Response {
    let code = Code::PermDenied;
    let example = ErrorBody {
        kind: format!("urn:masker:problem:{code}"),
        title: code.title().to_owned(),
        status: code.status(),
        detail: "this caller lacks the scope `tokenize`".to_owned(),
        code: code.to_string(),
        request_id: "9f86d081884c7d650000000000000001".to_owned(),
    };
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("ErrorBody")))
        .example(Some(serde_json::json!(example)));
    ResponseBuilder::new().description("The request as a whole failed").content(PROBLEM, content.build()).build()
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use serde_json::{Value, json};

    use super::*;

    /// The environment variable that rewrites the golden file.
    const UPDATE: &str = "MASKER_UPDATE_GOLDEN";

    fn parsed() -> Value {
        serde_json::from_str(&openapi_json().unwrap()).unwrap()
    }

    /// Each operation, with its name for messages.
    fn operations(document: &Value) -> Vec<(String, &Value)> {
        let paths = document["paths"].as_object().unwrap().iter();
        let of_path = |(path, methods)| {
            let methods: &Value = methods;
            let operations = methods.as_object().unwrap().iter();
            operations.map(move |(method, operation)| (format!("{method} {path}"), operation)).collect::<Vec<_>>()
        };
        paths.flat_map(of_path).collect()
    }

    #[test]
    fn the_document_is_the_golden_file() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
        let document = build().to_pretty_json().unwrap() + "\n";
        if env::var_os(UPDATE).is_some() {
            fs::write(&path, &document).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        assert!(golden == document, "the interface has changed: set {UPDATE}=1 to rewrite {}", path.display());
    }

    #[test]
    fn every_body_has_an_example() {
        let document = parsed();
        for (name, operation) in operations(&document) {
            let request = operation["requestBody"]["content"].as_object().into_iter().flatten();
            let responses = operation["responses"].as_object().unwrap().values();
            let answers = responses.flat_map(|response| response["content"].as_object().into_iter().flatten());
            for (media_type, content) in request.chain(answers) {
                let has_example =
                    content.get("example").is_some() || content["schema"]["$ref"] == "#/components/schemas/ErrorBody";
                assert!(has_example || media_type == "application/octet-stream", "{name}: {media_type}");
            }
        }
    }

    #[test]
    fn every_operation_names_its_scopes_and_describes_failures() {
        let document = parsed();
        assert_eq!(document["components"]["securitySchemes"][API_KEY]["scheme"], "bearer");
        assert_eq!(operations(&document).len(), routes().len());
        for (name, operation) in operations(&document) {
            assert!(operation["responses"]["default"].is_object(), "{name}");
            let alternatives = operation["security"].as_array().unwrap();
            assert!(alternatives.len() > 1 && alternatives.last() == Some(&json!({})), "{name}");
        }
        let security = |method: &str, path: &str| &document["paths"][path][method]["security"];
        assert_eq!(security("get", "/api/v1/auth/whoami"), &json!([{"api_key": []}, {}]));
        assert_eq!(security("post", "/api/v1/tokenize"), &json!([{"api_key": ["tokenize"]}, {}]));
        let either = json!([
            {"api_key": ["tokenize"]}, {"api_key": ["rehydrate"]}, {"api_key": ["text:mask"]}, {"api_key": ["text:restore"]},
            {}
        ]);
        assert_eq!(security("post", "/api/v1/sessions"), &either);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = parsed();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}

//! The operations on values, for tests.

use serde_json::{Value, json};

use super::Client;

/// Returns an item to tokenize.
pub fn item(kind: &str, value: &str) -> Value {
    json!({"kind": kind, "value": value})
}

/// Returns the code of a result that is an error with a detail and nothing else.
pub fn error_code(result: &Value) -> &str {
    let error = &result["error"];
    assert_eq!(shape_of(result), ["error"], "{result}");
    assert_eq!(shape_of(error), ["code", "detail"], "{result}");
    assert!(error["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{result}");
    error["code"].as_str().expect("a code")
}

/// Returns the names of an object's members, sorted.
pub fn shape_of(value: &Value) -> Vec<&str> {
    let object = value.as_object().unwrap_or_else(|| panic!("an object: {value}"));
    let mut names: Vec<&str> = object.keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

impl Client {
    /// Sends a `POST` of items to tokenize or to look up.
    pub fn ask_items(&mut self, path: &str, items: &[Value]) -> Vec<Value> {
        self.post(path, &json!({ "items": items })).results(items.len())
    }

    /// Sends a `POST` of tokens.
    pub fn ask_tokens(&mut self, path: &str, tokens: &[impl Into<Value> + Clone]) -> Vec<Value> {
        let tokens: Vec<Value> = tokens.iter().map(|token| token.clone().into()).collect();
        self.post(path, &json!({ "tokens": tokens })).results(tokens.len())
    }

    /// Tokenizes items.
    pub fn tokenize(&mut self, items: &[Value]) -> Vec<Value> {
        self.ask_items("/api/v1/tokenize", items)
    }

    /// Rehydrates tokens: strings, or objects with a context.
    pub fn rehydrate(&mut self, tokens: &[impl Into<Value> + Clone]) -> Vec<Value> {
        self.ask_tokens("/api/v1/rehydrate", tokens)
    }

    /// Returns the token of one value, new or not.
    pub fn token(&mut self, kind: &str, value: &str) -> String {
        self.tokens(kind, &[value]).remove(0)
    }

    /// Returns the tokens of values of one kind.
    pub fn tokens(&mut self, kind: &str, values: &[impl AsRef<str>]) -> Vec<String> {
        let items: Vec<Value> = values.iter().map(|value| item(kind, value.as_ref())).collect();
        let token = |result: &Value| match &result["token"] {
            Value::String(token) => token.clone(),
            _ => panic!("no token: {result}"),
        };
        self.tokenize(&items).iter().map(token).collect()
    }

    /// Returns the value of one token.
    pub fn value(&mut self, token: &str) -> String {
        let result = self.rehydrate(&[token]).remove(0);
        result["value"].as_str().unwrap_or_else(|| panic!("no value: {result}")).to_owned()
    }

    /// Returns the status in `/health` and its components. The HTTP status must agree.
    pub fn health(&mut self) -> (String, Value) {
        let response = self.get("/health");
        let health = response.json();
        let status = health["status"].as_str().expect("a status").to_owned();
        assert_eq!(response.status, if status == "ok" { 200 } else { 503 }, "{health}");
        (status, health["components"].clone())
    }

    /// Returns the value of a line in `/metrics`, by its name and labels as Prometheus writes them.
    pub fn metric(&mut self, name: &str) -> Option<f64> {
        let response = self.get("/metrics");
        assert_eq!((response.status, &*response.content_type), (200, "text/plain; version=0.0.4; charset=utf-8"));
        let text = String::from_utf8(response.body).expect("text");
        let number = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        Some(number.parse().expect("a number"))
    }
}

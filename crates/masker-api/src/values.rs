//! Requests and responses of the operations on values: tokenize, rehydrate, lookup, rewrap, forget.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::{
    ToSchema,
    openapi::{
        ObjectBuilder, OneOfBuilder, RefOr, Schema,
        schema::{SchemaType, Type},
    },
};

use super::{Text, strict_object};

/// The request of `tokenize` and `lookup`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenizeRequest<'a> {
    /// The policy to use; the configured default if absent.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "healthcare-default")]
    pub policy: Option<Text<'a>>,
    /// The context of every item without its own: 0 to 256 bytes.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "clinic-7")]
    pub context: Option<Text<'a>>,
    /// The values to tokenize: at most 10,000 items.
    #[serde(borrow, deserialize_with = "strict_object::list")]
    pub items: Vec<TokenizeItem<'a>>,
}

/// A value to tokenize.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenizeItem<'a> {
    /// The entity kind, as the policy names it.
    #[serde(borrow)]
    #[schema(value_type = String, example = "PHONE")]
    pub kind: Text<'a>,
    /// The value: 1 to 4,096 bytes.
    #[serde(borrow)]
    #[schema(value_type = String, example = "415-555-2671")]
    pub value: Text<'a>,
    /// This item's own context.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub context: Option<Text<'a>>,
}

/// The request of `rehydrate` and `rewrap`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RehydrateRequest<'a> {
    /// The context of every token without its own: 0 to 256 bytes.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub context: Option<Text<'a>>,
    /// The tokens: at most 10,000, each a string or an object with its own context.
    #[serde(borrow)]
    pub tokens: Vec<TokenItem<'a>>,
}

/// The request of `forget`: either tokens, or values whose tokens are erased in every spelling.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgetRequest<'a> {
    /// With `items`, the policy that tokenized them; the configured default if absent.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub policy: Option<Text<'a>>,
    /// The context of every token or item without its own: 0 to 256 bytes.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub context: Option<Text<'a>>,
    /// The tokens: at most 10,000, each a string or an object with its own context.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<TokenItem<'a>>>,
    /// The values: at most 10,000.
    #[serde(
        borrow,
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "strict_object::optional_list"
    )]
    pub items: Option<Vec<TokenizeItem<'a>>>,
}

/// A token: a string, or `{"token": …, "context": …}`.
#[derive(Serialize)]
#[serde(untagged)]
pub enum TokenItem<'a> {
    /// A token in the context of the request.
    Plain(Text<'a>),
    /// A token with its own context.
    WithContext {
        /// The token.
        token: Text<'a>,
        /// Its context.
        #[serde(skip_serializing_if = "Option::is_none")]
        context: Option<Text<'a>>,
    },
}

// Not derived: the derived schema describes the plain string as both a string and an object.
impl utoipa::PartialSchema for TokenItem<'_> {
    fn schema() -> RefOr<Schema> {
        let with_context = ObjectBuilder::new()
            .property("token", String::schema())
            .required("token")
            .property("context", Option::<String>::schema())
            .description(Some("A token with its own context."));
        let plain = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .description(Some("A token in the context of the request."));
        OneOfBuilder::new().item(plain).item(with_context).into()
    }
}

impl ToSchema for TokenItem<'_> {}

impl<'a> TokenItem<'a> {
    /// Returns the text of the token.
    pub fn token(&self) -> &str {
        match self {
            TokenItem::Plain(token) | TokenItem::WithContext { token, .. } => token,
        }
    }

    /// Returns the context of the token, if it has its own.
    pub fn context(&self) -> Option<&str> {
        match self {
            TokenItem::Plain(_) => None,
            TokenItem::WithContext { context, .. } => context.as_deref(),
        }
    }
}

// Not derived: serde's untagged enums copy every string, and report only "did not match any variant".
impl<'de: 'a, 'a> Deserialize<'de> for TokenItem<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TokenVisitor;

        impl<'de> de::Visitor<'de> for TokenVisitor {
            type Value = TokenItem<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token: a string, or an object with `token` and `context`")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(TokenItem::Plain(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TokenItem::Plain(text.to_owned().into()))
            }

            fn visit_map<M: de::MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Fields<'a> {
                    #[serde(borrow)]
                    token: Text<'a>,
                    #[serde(borrow, default)]
                    context: Option<Text<'a>>,
                }
                let fields = Fields::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(TokenItem::WithContext { token: fields.token, context: fields.context })
            }
        }

        deserializer.deserialize_any(TokenVisitor)
    }
}

/// The response to a batch: one result for each item, in the order of the request.
#[derive(Deserialize, Serialize, ToSchema)]
// The OpenAPI document keeps the name that clients have generated types from.
#[schema(as = Answer)]
pub struct BatchResponse<T> {
    /// The results.
    pub results: Vec<T>,
}

/// The failure of one item. Other items of the request may have succeeded.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct ItemError {
    /// A stable code, such as `token.not_found`.
    pub code: String,
    /// What happened and what to do, for people.
    pub detail: String,
}

/// The result of tokenizing one value.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum TokenizeResult<'a> {
    /// The value has this token.
    Token {
        /// The token.
        #[serde(borrow)]
        #[schema(value_type = String)]
        token: Text<'a>,
        /// Whether the vault minted it now; absent for reversible tokens.
        #[serde(skip_serializing_if = "Option::is_none")]
        created: Option<bool>,
    },
    /// The policy redacts this kind.
    Redacted {
        /// `[REDACTED:KIND]`.
        redacted: String,
    },
    /// The policy passes this kind through.
    Value {
        /// The value as given.
        #[serde(borrow)]
        #[schema(value_type = String)]
        value: Text<'a>,
    },
    /// The item failed.
    Error {
        /// The failure.
        error: ItemError,
    },
}

/// The result of rehydrating one token.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum RehydrateResult<'a> {
    /// The token represents this value.
    Value {
        /// The value.
        #[serde(borrow)]
        #[schema(value_type = String)]
        value: Text<'a>,
        /// The kind of the value.
        #[serde(borrow)]
        #[schema(value_type = String)]
        kind: Text<'a>,
        /// The generation that opened it: `active` or `old`.
        #[serde(borrow)]
        #[schema(value_type = String)]
        generation: Text<'a>,
    },
    /// The item failed.
    Error {
        /// The failure.
        error: ItemError,
    },
}

/// The result of looking up one value: the tokens by which it may be stored now.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum LookupResult {
    /// The tokens: none if the vault does not contain the value.
    Tokens {
        /// The tokens: those of the value itself first, beginning with the one that `tokenize` would return, then those of
        /// other spellings. At most 1,000.
        tokens: Vec<String>,
        /// Whether the first token is one of the value itself, byte for byte.
        exact: bool,
        /// `true` if there are more tokens; absent otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        more: Option<bool>,
    },
    /// The item failed.
    Error {
        /// The failure.
        error: ItemError,
    },
}

/// The result of rewrapping one token.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum RewrapResult {
    /// The token to store from now on.
    Token {
        /// The token.
        token: String,
        /// Whether it differs from the given token.
        changed: bool,
    },
    /// The item failed.
    Error {
        /// The failure.
        error: ItemError,
    },
}

/// The result of forgetting one token or one value.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ForgetResult {
    /// The token or the value was processed.
    Forgotten {
        /// Whether a record was erased; false for reversible tokens.
        forgotten: bool,
        /// For a value, how many of its tokens were erased; absent for a token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
    },
    /// The item failed.
    Error {
        /// The failure.
        error: ItemError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_string_or_an_object() {
        let request: RehydrateRequest<'_> =
            serde_json::from_str(r#"{"tokens": ["a", {"token": "b", "context": "c"}, {"token": "d"}, "\u0041"]}"#)
                .unwrap();
        let seen: Vec<_> = request.tokens.iter().map(|t| (t.token(), t.context())).collect();
        assert_eq!(seen, [("a", None), ("b", Some("c")), ("d", None), ("A", None)]);
    }

    #[test]
    fn rejects_unknown_fields() {
        for body in [r#"{"tokens": [], "x": 1}"#, r#"{"tokens": [{"token": "a", "x": 1}]}"#, r#"{"tokens": [1]}"#] {
            assert!(serde_json::from_str::<RehydrateRequest<'_>>(body).is_err(), "{body}");
        }
        for body in [r#"{"items": [], "x": 1}"#, r#"{"items": [{"kind": "A", "value": "b", "x": 1}]}"#] {
            assert!(serde_json::from_str::<TokenizeRequest<'_>>(body).is_err(), "{body}");
        }
    }
}

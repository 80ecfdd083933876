//! Requests and answers of the operations on values: tokenize, rehydrate, lookup, rewrap, forget.

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

/// What `tokenize` and `lookup` take.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenizeRequest<'a> {
    /// The policy to use; the configured default where absent.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "healthcare-default")]
    pub policy: Option<Text<'a>>,
    /// The context of every item that has none of its own: 0 to 256 bytes.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "clinic-7")]
    pub context: Option<Text<'a>>,
    /// What to tokenize: at most 10,000 items.
    #[serde(borrow, deserialize_with = "strict_object::list")]
    pub items: Vec<TokenizeItem<'a>>,
}

/// One value to tokenize.
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

/// What `rehydrate`, `rewrap` and `forget` take.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RehydrateRequest<'a> {
    /// The context of every token that has none of its own: 0 to 256 bytes.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub context: Option<Text<'a>>,
    /// The tokens: at most 10,000, each a string or an object with a context of its own.
    #[serde(borrow)]
    pub tokens: Vec<TokenItem<'a>>,
}

/// One token: a string, or `{"token": …, "context": …}`.
#[derive(Serialize)]
#[serde(untagged)]
pub enum TokenItem<'a> {
    /// A token under the request's context.
    Plain(Text<'a>),
    /// A token with a context of its own.
    WithContext {
        /// The token.
        token: Text<'a>,
        /// Its context.
        #[serde(skip_serializing_if = "Option::is_none")]
        context: Option<Text<'a>>,
    },
}

// By hand, because the derived one describes the plain string as a string and an object at once.
impl utoipa::PartialSchema for TokenItem<'_> {
    fn schema() -> RefOr<Schema> {
        let with_context = ObjectBuilder::new()
            .property("token", String::schema())
            .required("token")
            .property("context", Option::<String>::schema())
            .description(Some("A token with a context of its own."));
        let plain = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .description(Some("A token under the request's context."));
        OneOfBuilder::new().item(plain).item(with_context).into()
    }
}

impl ToSchema for TokenItem<'_> {}

impl<'a> TokenItem<'a> {
    /// The token's text.
    pub fn token(&self) -> &str {
        match self {
            TokenItem::Plain(token) | TokenItem::WithContext { token, .. } => token,
        }
    }

    /// The context given beside the token.
    pub fn context(&self) -> Option<&str> {
        match self {
            TokenItem::Plain(_) => None,
            TokenItem::WithContext { context, .. } => context.as_deref(),
        }
    }
}

// By hand, because serde's untagged enums copy every string first and answer "did not match any variant".
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

/// The answer to a batch: one result for each item, in the order of the request.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Answer<T> {
    /// The results.
    pub results: Vec<T>,
}

/// Why one item failed, while others of its request may have succeeded.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct ItemError {
    /// A stable code, such as `token.not_found`.
    pub code: String,
    /// What happened and what to do, for a person.
    pub detail: String,
}

/// What became of one value to tokenize.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum TokenizeResult<'a> {
    /// It has this token.
    Token {
        /// The token.
        #[serde(borrow)]
        #[schema(value_type = String)]
        token: Text<'a>,
        /// Whether the vault minted it now; absent for tokens that no vault holds.
        #[serde(skip_serializing_if = "Option::is_none")]
        created: Option<bool>,
    },
    /// The policy redacts this kind.
    Redacted {
        /// `[REDACTED:KIND]`.
        redacted: String,
    },
    /// The policy lets this kind through.
    Value {
        /// The value as given.
        #[serde(borrow)]
        #[schema(value_type = String)]
        value: Text<'a>,
    },
    /// It failed.
    Error {
        /// Why.
        error: ItemError,
    },
}

/// What became of one token to rehydrate.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum RehydrateResult<'a> {
    /// It stands for this value.
    Value {
        /// The value.
        #[serde(borrow)]
        #[schema(value_type = String)]
        value: Text<'a>,
        /// Its kind.
        #[serde(borrow)]
        #[schema(value_type = String)]
        kind: Text<'a>,
        /// Which key opened it: `active` or `old`.
        #[serde(borrow)]
        #[schema(value_type = String)]
        generation: Text<'a>,
    },
    /// It failed.
    Error {
        /// Why.
        error: ItemError,
    },
}

/// Every token by which a value may be stored now.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum LookupResult {
    /// The tokens: none where the vault does not hold the value.
    Tokens {
        /// The tokens, the one that tokenizing would give first.
        tokens: Vec<String>,
    },
    /// It failed.
    Error {
        /// Why.
        error: ItemError,
    },
}

/// What became of one token to re-mint.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum RewrapResult {
    /// The token to store from now on.
    Token {
        /// The token.
        token: String,
        /// Whether it differs from the one given.
        changed: bool,
    },
    /// It failed.
    Error {
        /// Why.
        error: ItemError,
    },
}

/// What became of one token to forget.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ForgetResult {
    /// The vault was asked.
    Forgotten {
        /// Whether a record was erased; false for tokens that no vault holds.
        forgotten: bool,
    },
    /// It failed.
    Error {
        /// Why.
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
    fn unknown_fields_are_errors_everywhere() {
        for body in [r#"{"tokens": [], "x": 1}"#, r#"{"tokens": [{"token": "a", "x": 1}]}"#, r#"{"tokens": [1]}"#] {
            assert!(serde_json::from_str::<RehydrateRequest<'_>>(body).is_err(), "{body}");
        }
        for body in [r#"{"items": [], "x": 1}"#, r#"{"items": [{"kind": "A", "value": "b", "x": 1}]}"#] {
            assert!(serde_json::from_str::<TokenizeRequest<'_>>(body).is_err(), "{body}");
        }
    }
}

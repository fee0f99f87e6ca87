//! SQL functions for JSON in a text column, such as `body`.
//!
//! Names and meanings are those of the crate `datafusion-functions-json`. A text that is not JSON, a path that leads
//! nowhere and a value of another type are null, never an error: logs hold everything.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow_schema::DataType;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::execution::FunctionRegistry as _;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What a function gives of the value that its path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Gives {
    Json,
    Text,
    Str,
    Int,
    Float,
    Bool,
    Contains,
    Length,
}

const FUNCTIONS: [(&str, Gives); 8] = [
    ("json_get_json", Gives::Json),
    ("json_as_text", Gives::Text),
    ("json_get_str", Gives::Str),
    ("json_get_int", Gives::Int),
    ("json_get_float", Gives::Float),
    ("json_get_bool", Gives::Bool),
    ("json_contains", Gives::Contains),
    ("json_length", Gives::Length),
];

/// Makes the functions, and the operators `->` (JSON) and `->>` (text), known to a context.
pub(crate) fn register(context: &mut SessionContext) -> Result<()> {
    for (name, gives) in FUNCTIONS {
        SessionContext::register_udf(context, function(name, gives));
    }
    context.register_expr_planner(Arc::new(Arrows))
}

/// Whether a function is one of those, which only Logboom has.
#[cfg(feature = "remote")]
pub(crate) fn is_ours(name: &str) -> bool {
    FUNCTIONS.iter().any(|(ours, _)| *ours == name)
}

fn function(name: &'static str, gives: Gives) -> ScalarUDF {
    ScalarUDF::from(JsonFunction { name, gives, signature: Signature::variadic_any(Volatility::Immutable) })
}

#[derive(Debug)]
struct Arrows;

impl ExprPlanner for Arrows {
    fn plan_binary_op(&self, expr: RawBinaryExpr, _: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let (name, gives) = match expr.op {
            BinaryOperator::Arrow => FUNCTIONS[0],
            BinaryOperator::LongArrow => FUNCTIONS[1],
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let call = ScalarFunction::new_udf(Arc::new(function(name, gives)), vec![expr.left, expr.right]);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonFunction {
    name: &'static str,
    gives: Gives,
    signature: Signature,
}

impl ScalarUDFImpl for JsonFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        if !matches!(types.first(), Some(text) if text.is_string() || text.is_null()) {
            return plan_err!("{} takes a text, and then keys or indices: {}(body, 'key', 0)", self.name, self.name);
        }
        Ok(match self.gives {
            Gives::Json | Gives::Text | Gives::Str => DataType::Utf8,
            Gives::Int | Gives::Length => DataType::Int64,
            Gives::Float => DataType::Float64,
            Gives::Bool | Gives::Contains => DataType::Boolean,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let path: Vec<Step> = args.args[1..].iter().map(|step| Step::of(self.name, step)).collect::<Result<_>>()?;
        let is_scalar = matches!(args.args[0], ColumnarValue::Scalar(_));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let texts = arrow_cast::cast(&args.args[0].to_array(rows)?, &DataType::Utf8)?;
        let values = self.values(texts.as_string(), &path);
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?),
            false => ColumnarValue::Array(values),
        })
    }
}

impl JsonFunction {
    fn values(&self, texts: &StringArray, path: &[Step]) -> ArrayRef {
        let found = texts.iter().map(|text| text.and_then(|text| find(text, path)).map(RawValue::get));
        match self.gives {
            Gives::Json => Arc::new(found.collect::<StringArray>()),
            Gives::Text => Arc::new(found.map(|value| value.and_then(as_text)).collect::<StringArray>()),
            Gives::Str => Arc::new(found.map(|value| string(value?)).collect::<StringArray>()),
            Gives::Int => Arc::new(found.map(|value| value?.parse().ok()).collect::<Int64Array>()),
            Gives::Float => Arc::new(found.map(|value| serde_json::from_str(value?).ok()).collect::<Float64Array>()),
            Gives::Bool => Arc::new(found.map(|value| value?.parse().ok()).collect::<BooleanArray>()),
            Gives::Contains => {
                Arc::new(texts.iter().map(|text| Some(find(text?, path).is_some())).collect::<BooleanArray>())
            }
            Gives::Length => Arc::new(found.map(|value| length(value?)).collect::<Int64Array>()),
        }
    }
}

/// A key of an object or an index of a list.
enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    fn of(function: &str, step: &ColumnarValue) -> Result<Self> {
        match step {
            ColumnarValue::Scalar(value) => {
                if let Some(Some(key)) = value.try_as_str() {
                    return Ok(Self::Key(key.to_owned()));
                }
                if let Ok(ScalarValue::Int64(Some(index))) = value.cast_to(&DataType::Int64)
                    && let Ok(index) = usize::try_from(index)
                {
                    return Ok(Self::Index(index));
                }
                plan_err!("{function}: {value} is no key and no index; write 'key' or 0")
            }
            ColumnarValue::Array(_) => plan_err!("{function}: keys and indices must be literal, such as 'key' or 0"),
        }
    }
}

/// The value at the end of `path`. Of equal keys the first one counts.
fn find<'a>(text: &'a str, path: &[Step]) -> Option<&'a RawValue> {
    // Most lines are not JSON, and that is soon seen.
    if !path.is_empty() && !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let mut input = serde_json::Deserializer::from_str(text);
    let found = Find(path).deserialize(&mut input).ok()?;
    input.end().ok()?;
    found
}

struct Find<'p>(&'p [Step]);

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        match self.0 {
            [] => serde::Deserialize::deserialize(input).map(Some),
            _ => input.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &self.0[0] {
                Step::Key(wanted) if found.is_none() && key.0 == wanted.as_str() => {
                    found = map.next_value_seed(Find(&self.0[1..]))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        if let Step::Index(wanted) = self.0[0] {
            for _ in 0..wanted {
                if list.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(None);
                }
            }
            if let Some(found) = list.next_element_seed(Find(&self.0[1..]))? {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(found);
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// A key, borrowed unless there are escapes in it.
#[derive(serde::Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn string(value: &str) -> Option<String> {
    serde_json::from_str(value).ok()
}

/// A string without its quotes, anything else as it stands; null is null.
fn as_text(value: &str) -> Option<String> {
    match value {
        "null" => None,
        _ => Some(string(value).unwrap_or_else(|| value.to_owned())),
    }
}

fn length(value: &str) -> Option<i64> {
    if let Ok(list) = serde_json::from_str::<Vec<IgnoredAny>>(value) {
        return Some(list.len() as i64);
    }
    let object = serde_json::from_str::<std::collections::BTreeMap<Text<'_>, IgnoredAny>>(value);
    object.ok().map(|object| object.len() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get<'a>(text: &'a str, path: &[&str]) -> Option<&'a str> {
        let step = |step: &&str| step.parse().map_or_else(|_| Step::Key((*step).to_owned()), Step::Index);
        find(text, &path.iter().map(step).collect::<Vec<_>>()).map(RawValue::get)
    }

    #[test]
    fn a_path_goes_through_keys_and_indices() {
        let text = r#" {"a":{"b":[1, {"c\u0064":"x\n"}, null]},"a":2,"e":""} "#;
        assert_eq!(get(text, &["a", "b", "0"]), Some("1"));
        assert_eq!(get(text, &["a", "b", "1", "cd"]), Some(r#""x\n""#));
        assert_eq!(get(text, &["a", "b", "2"]), Some("null"));
        for path in [&["a", "b", "3"][..], &["a", "0"], &["a", "b", "c"], &["e", "f"], &["x"], &["0"]] {
            assert_eq!(get(text, path), None, "{path:?}");
        }
    }

    #[test]
    fn what_is_not_json_has_no_values() {
        for text in ["", "GET /", "{", r#"{"a":1"#, r#"{"a":1} x"#, r#"{"a" 1}"#, "["] {
            assert_eq!(get(text, &["a"]), None);
        }
    }

    #[test]
    fn a_value_of_any_depth_is_passed_over_or_given_and_never_overflows_the_stack() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!("{{\"a\":{deep},\"b\":2}}");
        assert!(get(&text, &["a"]) == Some(deep.as_str()));
        assert!(get(&text, &["a", "0"]).is_none_or(|value| deep.contains(value)));
        assert!(get(&text, &["b"]).is_none_or(|value| value == "2"));
        assert!(length(&deep).is_none_or(|length| length == 1));
    }

    #[test]
    fn a_length_is_that_of_a_list_or_an_object() {
        assert_eq!(length("[1,[2,3]]"), Some(2));
        assert_eq!(length(r#"{"a":1,"b":{}}"#), Some(2));
        assert_eq!((length("7"), length("\"x\"")), (None, None));
    }
}

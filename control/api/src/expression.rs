//! Expressions over JSON, for those who ask before a write: match conditions of webhooks, and admission policies.
//!
//! What an expression may be is in the language's own module. Values go in and come out as JSON.

use serde_json::Value;

use crate::cel::{Budget, Fault, Program, Value as CelValue};

/// An expression that was read and whose names are known.
#[derive(Debug, Clone)]
pub struct Expression(Program);

/// What all expressions of one write may cost together.
#[derive(Debug)]
pub struct Cost(Budget);

impl Default for Cost {
    fn default() -> Self {
        Self(Budget::of_write())
    }
}

impl Expression {
    /// Reads an expression that may name these variables.
    pub fn parse(text: &str, variables: &[&str]) -> Result<Self, String> {
        let program = Program::parse(text)?;
        let variables: Vec<_> = variables.iter().map(|name| (*name, None)).collect();
        program.check(&variables)?;
        Ok(Self(program))
    }

    /// What it comes to. Times, durations and the like come out as their texts.
    pub fn evaluate(&self, variables: &[(&str, &Value)], cost: &mut Cost) -> Result<Value, String> {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, CelValue::of(value, None))).collect();
        match self.0.evaluate(&variables, &mut cost.0) {
            Ok(value) => Ok(value.to_json()),
            Err(Fault::Error(why)) => Err(why),
            Err(Fault::CallSpent | Fault::WriteSpent) => {
                Err("operation cancelled: actual cost limit exceeded".to_owned())
            }
        }
    }
}

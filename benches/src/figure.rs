//! A figure: named series of measured values, and their medians.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

/// What was measured, a series for each of the things compared.
#[derive(Clone, Debug)]
pub struct Figure {
    name: String,
    unit: &'static str,
    series: BTreeMap<String, Vec<f64>>,
}

impl Figure {
    /// A figure without values.
    pub fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            unit,
            series: BTreeMap::new(),
        }
    }

    /// Adds one measured value.
    pub fn add(&mut self, series: &str, value: f64) {
        self.series
            .entry(series.to_owned())
            .or_default()
            .push(value);
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let series = self.series.iter().map(|(name, values)| {
            let numbers = json!({ "median": median(values), "values": values });
            (name.clone(), numbers)
        });
        let series: serde_json::Map<String, Value> = series.collect();
        json!({ "name": self.name, "unit": self.unit, "series": series })
    }

    /// For people: medians, and all values in brackets.
    pub fn render(&self) -> String {
        let mut out = format!("{} ({})\n", self.name, self.unit);
        for (name, values) in &self.series {
            let all: Vec<String> = values.iter().map(|value| format!("{value:.1}")).collect();
            // Writing to a String cannot fail.
            writeln!(
                out,
                "  {name:<32}{:>12.1}   [{}]",
                median(values),
                all.join(", ")
            )
            .unwrap_or_default();
        }
        out
    }
}

/// The middle value; of an even number the lower one of the two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .get(sorted.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_values() {
        assert!((median(&[9.0, 1.0, 5.0]) - 5.0).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }
}

//! Cron schedules: five fields, or a word like `@daily`. Only whether they can be read; when they are due is the
//! controller's.
//!
//! Grammar and texts: `github.com/robfig/cron/v3`, `ParseStandard`.

/// A field: its bounds and the names that may stand for numbers.
struct Field {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { min: 0, max: 59, names: &[] },
    Field { min: 0, max: 23, names: &[] },
    Field { min: 1, max: 31, names: &[] },
    Field {
        min: 1,
        max: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

const WORDS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Why the schedule cannot be read.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.starts_with('@') {
        return match text.strip_prefix("@every ") {
            Some(span) if is_span(span) => Ok(()),
            Some(span) => Err(format!("failed to parse duration {text}: time: invalid duration {span:?}")),
            None if WORDS.contains(&text) => Ok(()),
            None => Err(format!("unrecognized descriptor: {text}")),
        };
    }
    let given: Vec<&str> = text.split_whitespace().collect();
    if given.len() != FIELDS.len() {
        let count = given.len();
        return Err(format!("expected exactly 5 fields, found {count}: [{}]", given.join(" ")));
    }
    given.iter().zip(&FIELDS).try_for_each(|(text, field)| text.split(',').try_for_each(|range| field.range(range)))
}

impl Field {
    /// `*`, `?`, `5`, `1-5`, each with a step: `*/2`.
    fn range(&self, text: &str) -> Result<(), String> {
        let mut with_step = text.split('/');
        let range = with_step.next().unwrap_or_default();
        let step = with_step.next();
        let mut bounds = range.split('-');
        let (low, high) = (bounds.next().unwrap_or_default(), bounds.next());
        let (start, end) = if matches!(low, "*" | "?") {
            (self.min, self.max)
        } else {
            let start = self.number(low)?;
            match high {
                None if step.is_some() => (start, self.max),
                None => (start, start),
                Some(high) => (start, self.number(high)?),
            }
        };
        if bounds.next().is_some() {
            return Err(format!("too many hyphens: {text}"));
        }
        let step = step.map_or(Ok(1), integer)?;
        if with_step.next().is_some() {
            return Err(format!("too many slashes: {text}"));
        }
        if start < self.min {
            return Err(format!("beginning of range ({start}) below minimum ({}): {text}", self.min));
        }
        if end > self.max {
            return Err(format!("end of range ({end}) above maximum ({}): {text}", self.max));
        }
        if start > end {
            return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
        }
        if step == 0 {
            return Err(format!("step of range should be a positive number: {text}"));
        }
        Ok(())
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        match named.and_then(|index| u32::try_from(index).ok()) {
            Some(index) => Ok(index + self.min),
            None => integer(text),
        }
    }
}

fn integer(text: &str) -> Result<u32, String> {
    let fail = |why: &str| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {why}");
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => u32::try_from(number).map_err(|_| fail("value out of range")),
        Err(_) => Err(fail("invalid syntax")),
    }
}

/// A span of time as Go writes it: `1h30m`, `1.5s`.
fn is_span(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, unit) = rest.split_at(end);
        if number.parse::<f64>().is_err() {
            return false;
        }
        let units = ["ns", "us", "µs", "ms", "s", "m", "h"];
        let Some(unit_found) = units.iter().filter(|known| unit.starts_with(**known)).max_by_key(|known| known.len())
        else {
            return false;
        };
        rest = &unit[unit_found.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::check;

    #[test]
    fn schedules_are_read_as_robfig_cron_reads_them() {
        for text in ["* * * * *", "*/5 0-23/2 1,15 JAN-mar sun", "? 1 1 1 6", "@daily", "@every 1h30m", "5/15 * * * *"]
        {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for (text, why) in [
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("error", "expected exactly 5 fields, found 1: [error]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("@often", "unrecognized descriptor: @often"),
            ("@every day", "failed to parse duration @every day: time: invalid duration \"day\""),
        ] {
            assert_eq!(check(text), Err(why.to_owned()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_schedule_is_read_or_refused_without_panic(text in "[@*/,0-9a-z? -]{0,30}|@every \\PC{0,10}") {
            let _ = check(&text);
        }
    }
}

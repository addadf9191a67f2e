//! Cron schedules: five fields, or a word like `@daily`; and when they are due next. What is done then is the controller's.
//!
//! Grammar, texts and meaning: `github.com/robfig/cron/v3`, `ParseStandard` and `SpecSchedule.Next`.

use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, ToSpan as _};
use wk_base::time::Timestamp;

/// Days looked ahead: a schedule that is due at all is due within five years, leap days included.
const DAYS_MAX: usize = 5 * 366;

/// Hours that a clock is set back by at most: politics has set them back by three.
const HOURS_BACK_MAX: i8 = 4;

/// A schedule that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(When);

#[derive(Debug, Clone, PartialEq, Eq)]
enum When {
    /// The numbers that each field allows, as bits: minutes, hours, days, months, days of the week.
    Fields([Allowed; 5]),
    /// This long after the last time.
    Every(SignedDuration),
}

/// The numbers that one field allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Allowed {
    bits: u64,
    /// It was `*`: any, as if it had not been given.
    any: bool,
}

impl Allowed {
    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.bits & (1 << number) != 0)
    }
}

impl Schedule {
    /// Reads one; why it cannot be read.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('@') {
            let fields = match text {
                "@yearly" | "@annually" => "0 0 1 1 *",
                "@monthly" => "0 0 1 * *",
                "@weekly" => "0 0 * * 0",
                "@daily" | "@midnight" => "0 0 * * *",
                "@hourly" => "0 * * * *",
                _ => {
                    let Some(span) = text.strip_prefix("@every ") else {
                        return Err(format!("unrecognized descriptor: {text}"));
                    };
                    let found = span_of(span);
                    let fail = || format!("failed to parse duration {text}: time: invalid duration {span:?}");
                    // In whole seconds, and never less than one.
                    let seconds = found.ok_or_else(fail)?.trunc().max(1.0);
                    return Ok(Self(When::Every(SignedDuration::from_secs(seconds as i64))));
                }
            };
            return Self::parse(fields);
        }
        let given: Vec<&str> = text.split_whitespace().collect();
        if given.len() != FIELDS.len() {
            let count = given.len();
            return Err(format!("expected exactly 5 fields, found {count}: [{}]", given.join(" ")));
        }
        let mut allowed = [Allowed::default(); 5];
        for ((text, field), allowed) in given.iter().zip(&FIELDS).zip(&mut allowed) {
            for range in text.split(',') {
                let found = field.range(range)?;
                *allowed = Allowed { bits: allowed.bits | found.bits, any: allowed.any || found.any };
            }
        }
        Ok(Self(When::Fields(allowed)))
    }

    /// The first time after `after` that it is due at, by the clocks of `zone`; None when it never is.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let allowed = match &self.0 {
            When::Every(span) => {
                let whole = Timestamp::from_second(after.as_second()).ok()?;
                return whole.checked_add(*span).ok();
            }
            When::Fields(allowed) => allowed,
        };
        let now = after.to_zoned(zone.clone());
        let mut date = now.date();
        // What comes after now was not shown hours before it: no clock is set back by more.
        let mut from = now.hour() - HOURS_BACK_MAX;
        for _ in 0..DAYS_MAX {
            if is_due_on(allowed, date)
                && let Some(due) = first_on(allowed, date, from, after, zone)
            {
                return Some(due);
            }
            date = date.checked_add(1.day()).ok()?;
            from = 0;
        }
        None
    }
}

/// The first time on `date` that it is due at after `after`, at `from` o'clock or later. What the clocks skip is not due;
/// what they show twice, because they are set back, is due twice.
fn first_on(allowed: &[Allowed; 5], date: Date, from: i8, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let [minutes, hours, ..] = *allowed;
    let times = (from.max(0)..24).filter(|hour| hours.has(*hour));
    let times = times.flat_map(|hour| (0..60_i8).map(move |minute| (hour, minute)));
    let mut first: Option<Timestamp> = None;
    for (hour, minute) in times.filter(|(_, minute)| minutes.has(*minute)) {
        let shown = date.at(hour, minute, 0, 0);
        let (offsets, is_once) = match zone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset } => ([offset, offset], true),
            AmbiguousOffset::Fold { before, after } => ([before, after], false),
            AmbiguousOffset::Gap { .. } => continue,
        };
        let due = offsets.iter().filter_map(|offset| offset.to_timestamp(shown).ok()).filter(|due| *due > after).min();
        first = first.into_iter().chain(due).min();
        // What is shown after what is shown twice comes after both.
        if first.is_some() && is_once {
            break;
        }
    }
    first
}

fn is_due_on(allowed: &[Allowed; 5], date: Date) -> bool {
    let [_, _, days, months, weekdays] = *allowed;
    let (day, weekday) = (days.has(date.day()), weekdays.has(date.weekday().to_sunday_zero_offset()));
    // Either will do where both are said.
    months.has(date.month()) && if days.any || weekdays.any { day && weekday } else { day || weekday }
}

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

/// Why the schedule cannot be read.
pub(super) fn check(text: &str) -> Result<(), String> {
    Schedule::parse(text).map(drop)
}

impl Field {
    /// `*`, `?`, `5`, `1-5`, each with a step: `*/2`.
    fn range(&self, text: &str) -> Result<Allowed, String> {
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
        let numbers = (start..=end).step_by(usize::try_from(step).unwrap_or(usize::MAX));
        let bits = numbers.fold(0, |bits, number| bits | 1_u64 << number);
        Ok(Allowed { bits, any: matches!(low, "*" | "?") && step == 1 })
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

/// A span of time as Go writes it (`1h30m`, `1.5s`), in seconds.
fn span_of(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0.0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, unit) = rest.split_at(end);
        let units = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let known = units.iter().filter(|(known, _)| unit.starts_with(known)).max_by_key(|(known, _)| known.len());
        let (name, worth) = known?;
        seconds += number.parse::<f64>().ok()? * worth;
        rest = &unit[name.len()..];
    }
    Some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn next(schedule: &str, after: &str, zone: &str) -> String {
        let zone = crate::zones::named(zone).expect("a zone");
        let schedule = Schedule::parse(schedule).expect("a schedule");
        let found = schedule.next(after.parse().expect("a time"), &zone);
        found.map_or_else(|| "never".to_owned(), |found| found.to_string())
    }

    #[test]
    fn schedules_are_due_when_robfig_cron_says() {
        for (schedule, after, due) in [
            ("* * * * *", "2025-01-01T00:00:00Z", "2025-01-01T00:01:00Z"),
            ("*/15 * * * *", "2025-01-01T00:46:10Z", "2025-01-01T01:00:00Z"),
            ("0 6 * * mon-fri", "2025-01-03T06:00:00Z", "2025-01-06T06:00:00Z"),
            ("0 0 13 * fri", "2025-01-01T00:00:00Z", "2025-01-03T00:00:00Z"),
            ("0 0 13 * *", "2025-01-13T00:00:00Z", "2025-02-13T00:00:00Z"),
            ("0 0 */2 * sun", "2025-01-05T00:00:00Z", "2025-01-07T00:00:00Z"),
            ("0 0 29 2 *", "2025-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 31 2 *", "2025-01-01T00:00:00Z", "never"),
            ("@hourly", "2025-01-01T00:00:00Z", "2025-01-01T01:00:00Z"),
            ("@every 90s", "2025-01-01T00:00:00.5Z", "2025-01-01T00:01:30Z"),
        ] {
            assert_eq!(next(schedule, after, "UTC"), due, "{schedule} after {after}");
        }
    }

    #[test]
    fn clocks_of_a_zone_are_meant_what_they_skip_is_not_due_and_what_they_show_twice_is_so_twice() {
        assert_eq!(next("30 6 * * *", "2025-07-01T00:00:00Z", "Europe/Berlin"), "2025-07-01T04:30:00Z");
        // As robfig's own tests have it, in New York in 2012: from 02:00 to 03:00 on 11 March, and back on 4 November.
        let new_york = |schedule: &str, after: &str| next(schedule, after, "America/New_York");
        for (schedule, after, due) in [
            ("30 2 11 mar *", "2012-03-11T00:00:00-05:00", "2013-03-11T06:30:00Z"),
            ("0 2 * * *", "2012-03-11T00:00:00-05:00", "2012-03-12T06:00:00Z"),
            ("0 * * * *", "2012-03-11T01:00:00-05:00", "2012-03-11T07:00:00Z"),
            ("*/30 * * * *", "2012-03-11T01:30:00-05:00", "2012-03-11T07:00:00Z"),
            ("30 2 4 nov *", "2012-11-04T00:00:00-04:00", "2012-11-04T07:30:00Z"),
            ("30 1 4 nov *", "2012-11-04T01:45:00-04:00", "2012-11-04T06:30:00Z"),
            ("0 1 * * *", "2012-11-04T00:00:00-04:00", "2012-11-04T05:00:00Z"),
            ("0 1 * * *", "2012-11-04T01:00:00-04:00", "2012-11-04T06:00:00Z"),
            ("0 1 * * *", "2012-11-04T01:00:00-05:00", "2012-11-05T06:00:00Z"),
            ("0 * * * *", "2012-11-04T01:00:00-04:00", "2012-11-04T06:00:00Z"),
            ("0 * * * *", "2012-11-04T01:00:00-05:00", "2012-11-04T07:00:00Z"),
            // Of two that are shown twice the first of one comes before the second of the other.
            ("*/15 * * * *", "2012-11-04T01:30:00-04:00", "2012-11-04T05:45:00Z"),
            ("*/15 * * * *", "2012-11-04T01:45:00-04:00", "2012-11-04T06:00:00Z"),
            ("*/15 * * * *", "2012-11-04T01:45:00-05:00", "2012-11-04T07:00:00Z"),
            ("10 3 * * *", "2012-11-04T01:15:00-04:00", "2012-11-04T08:10:00Z"),
        ] {
            assert_eq!(new_york(schedule, after), due, "{schedule} after {after}");
        }
    }

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
            if let Ok(schedule) = Schedule::parse(&text) {
                let now = Timestamp::UNIX_EPOCH;
                prop_assert!(schedule.next(now, &TimeZone::UTC).is_none_or(|due| due > now));
            }
        }
    }
}

//! `resource.Quantity`: amounts such as `100m`, `1.5Gi` and `2e3`, kept exactly and written canonically.
//!
//! Source: `k8s.io/apimachinery/pkg/api/resource`. Precision is one nano, rounded up; larger than 2^63-1 is capped.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use serde_json::Value;

const NANO: i128 = 1_000_000_000;
const CAP: i128 = i64::MAX as i128 * NANO;
/// Exponents past this only reach the cap or zero.
const EXPONENT_MAX: u32 = 30;

/// The family of suffixes an amount is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

/// An exact amount that remembers how it was written. Compared by amount alone.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Why a text is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a number with a suffix at all.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Form,
    /// The number is there but the suffix is none.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::Decimal };

    /// Reads a quantity.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let end_of_sign = usize::from(text.starts_with(['+', '-']));
        let rest = &text[end_of_sign..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let has_digit = number.bytes().any(|byte| byte.is_ascii_digit());
        let suffix_form = |byte: u8| b"eEinumkKMGTP+-".contains(&byte) || byte.is_ascii_digit();
        if !has_digit || fraction.contains('.') || !suffix.bytes().all(suffix_form) {
            return Err(QuantityError::Form);
        }
        let (factor, format) = suffix_factor(suffix)?;
        let magnitude = magnitude(whole, fraction, factor);
        Ok(Self { nanos: if text.starts_with('-') { -magnitude } else { magnitude }, format })
    }

    /// Reads a quantity from JSON: a string or a number.
    pub fn from_value(value: &Value) -> Result<Self, QuantityError> {
        match value {
            Value::String(text) => Self::parse(text),
            Value::Number(number) => Self::parse(&number.to_string()),
            _ => Err(QuantityError::Form),
        }
    }

    /// An amount of thousandths: `500` is half a CPU.
    pub fn from_millis(millis: i64) -> Self {
        Self { nanos: i128::from(millis) * (NANO / 1000), format: Format::Decimal }
    }

    /// An amount of bytes, written with binary suffixes.
    pub fn from_bytes(bytes: i64) -> Self {
        Self { nanos: i128::from(bytes) * NANO, format: Format::Binary }
    }

    /// Thousandths, rounded up; at most `i64::MAX`.
    pub fn millis(self) -> i64 {
        narrow(divide_up(self.nanos, NANO / 1000))
    }

    /// Whole units, rounded up; at most `i64::MAX`.
    pub fn value(self) -> i64 {
        narrow(divide_up(self.nanos, NANO))
    }

    /// Bytes, rounded up; negative amounts are none.
    pub fn bytes(self) -> u64 {
        u64::try_from(self.value()).unwrap_or_default()
    }

    /// Whether the amount is below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether the amount is a whole number of units.
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }
}

/// Factor of a suffix as (numerator in nanos).
fn suffix_factor(suffix: &str) -> Result<(i128, Format), QuantityError> {
    let decimal = |power: u32| Ok((10_i128.pow(power), Format::Decimal));
    let binary = |power: u32| Ok((NANO << (10 * power), Format::Binary));
    match suffix {
        "n" => decimal(0),
        "u" => decimal(3),
        "m" => decimal(6),
        "" => decimal(9),
        "k" => decimal(12),
        "M" => decimal(15),
        "G" => decimal(18),
        "T" => decimal(21),
        "P" => decimal(24),
        "E" => decimal(27),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
            let exponent: i32 = exponent.parse().map_err(|_| QuantityError::Suffix)?;
            // Below one nano everything rounds up to one nano: a factor of 0 says so to `magnitude`.
            let power = u32::try_from(exponent.saturating_add(9)).ok();
            let factor = power.map_or(0, |power| 10_i128.pow(power.min(EXPONENT_MAX)));
            Ok((factor, Format::Exponent))
        }
    }
}

/// `whole.fraction * factor`, rounded up to one nano, capped.
fn magnitude(whole: &str, fraction: &str, factor: i128) -> i128 {
    /// Digits of the fraction that are computed with: the product stays within 128 bits.
    const FRACTION_DIGITS: usize = 9;
    let any = whole.bytes().chain(fraction.bytes()).any(|digit| digit != b'0');
    if factor == 0 {
        return i128::from(any);
    }
    let number = |digits: &str| {
        digits.bytes().fold(0_i128, |sum, digit| sum.saturating_mul(10).saturating_add(i128::from(digit - b'0')))
    };
    let kept = fraction.len().min(FRACTION_DIGITS);
    let scale = 10_i128.pow(u32::try_from(kept).unwrap_or_default());
    let rest = fraction[kept..].bytes().any(|digit| digit != b'0');
    let below_one = divide_up(number(&fraction[..kept]).saturating_mul(factor), scale).saturating_add(i128::from(rest));
    number(whole).saturating_mul(factor).saturating_add(below_one).min(CAP)
}

/// Division rounded away from zero.
fn divide_up(value: i128, by: i128) -> i128 {
    let whole = value / by;
    if value % by == 0 { whole } else { whole + value.signum() }
}

fn narrow(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        const EXPONENT: [&str; 10] = ["e-9", "e-6", "e-3", "", "e3", "e6", "e9", "e12", "e15", "e18"];
        const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let mut nanos = self.nanos;
        if self.format == Format::Binary && nanos.abs() >= 1024 * NANO {
            let whole = divide_up(nanos, NANO);
            let (amount, step) = reduce(whole, 1024, BINARY.len());
            if step > 0 {
                return write!(f, "{amount}{}", BINARY[step]);
            }
            // Without a suffix it would be read back as decimal, so it is written as decimal: what is read, written and
            // read again must not change. (Go writes 429114000 here and 429114k the next time.)
            nanos = whole * NANO;
        }
        let (amount, step) = reduce(nanos, 1000, DECIMAL.len());
        let suffixes = if self.format == Format::Exponent { EXPONENT } else { DECIMAL };
        write!(f, "{amount}{}", suffixes[step])
    }
}

/// Takes factors of `base` out as long as nothing is lost.
fn reduce(mut amount: i128, base: i128, steps: usize) -> (i128, usize) {
    let mut step = 0;
    while step + 1 < steps && amount % base == 0 {
        amount /= base;
        step += 1;
    }
    (amount, step)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos).min(CAP), format }
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { nanos: self.nanos.saturating_sub(other.nanos).max(-CAP), format: self.format }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_are_written_canonically() {
        for (text, canonical) in [
            ("0", "0"),
            ("1.5", "1500m"),
            ("0.5", "500m"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("12e-1", "1200e-3"),
            ("1E", "1E"),
            ("-1", "-1"),
            ("+2", "2"),
            (".5", "500m"),
            ("5.", "5"),
            ("0.0000000001", "1n"),
            ("1e-40", "1e-9"),
            ("99999999999999999999", "9223372036854775807"),
            ("128974848", "128974848"),
            ("409.235Mi", "429114k"),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "m", "1.2.3", "1x", "1 Gi", "--1", "1KiB", "banana"] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
        assert_eq!(Quantity::parse("1mm"), Err(QuantityError::Suffix));
        assert_eq!(Quantity::parse("1e"), Err(QuantityError::Suffix));
    }

    #[test]
    fn units_round_up() {
        assert_eq!(Quantity::parse("1.5").unwrap().value(), 2);
        assert_eq!(Quantity::parse("0.1m").unwrap().millis(), 1);
        assert_eq!(Quantity::parse("64Mi").unwrap().bytes(), 64 << 20);
        assert_eq!(Quantity::from_millis(1500).to_string(), "1500m");
        assert_eq!(Quantity::from_bytes(64 << 20).to_string(), "64Mi");
        assert_eq!((Quantity::parse("1Gi").unwrap() + Quantity::parse("1Gi").unwrap()).to_string(), "2Gi");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,24}") {
            let _ = Quantity::parse(&text);
        }

        #[test]
        fn the_canonical_form_means_the_same_and_is_stable(
            text in "[+-]?[0-9]{1,12}(\\.[0-9]{0,9})?(n|u|m||k|M|G|Ki|Mi|Gi|Ti|e3|E-2|e6)"
        ) {
            let quantity = Quantity::parse(&text).unwrap();
            let again = Quantity::parse(&quantity.to_string()).unwrap();
            prop_assert_eq!(again.to_string(), quantity.to_string());
            prop_assert!(again >= quantity || quantity.is_negative());
        }
    }
}

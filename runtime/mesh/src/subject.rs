//! Subjects with several organizations: Kubernetes' groups. The certificate library writes one value of a kind, so what it
//! made is taken apart, given its subject, and signed again.
//!
//! Not here: which names may be asked for (`requested.rs`). DER: ITU-T X.690; certificates: RFC 5280, section 4.1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, SigningKey as _};

use crate::pem::CertPem;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const BIT_STRING: u8 = 0x03;
const UTF8_STRING: u8 = 0x0c;
/// 2.5.4.3 and 2.5.4.10, with tag and length.
const COMMON_NAME: &[u8] = &[0x06, 3, 0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x06, 3, 0x55, 4, 10];
/// Before the subject stand version, serial number, algorithm, issuer and validity.
const BEFORE_SUBJECT: usize = 5;
/// Characters in a line of PEM (RFC 7468).
const PEM_LINE: usize = 64;

/// The certificate `der` with this subject, signed by `key`; None for what is no certificate in DER.
pub(crate) fn replaced(
    der: &[u8],
    user: &str,
    groups: &[String],
    key: &KeyPair,
) -> Option<Result<CertPem, rcgen::Error>> {
    let (certificate, _) = element(der)?;
    let (whole_body, rest) = split(certificate)?;
    let (algorithm, _) = split(rest)?;
    let (body, _) = element(whole_body)?;
    let mut fields = body;
    for _ in 0..BEFORE_SUBJECT {
        fields = split(fields)?.1;
    }
    let before = &body[..body.len() - fields.len()];
    let (_, after) = split(fields)?;
    let body = tlv(SEQUENCE, &[before, &subject(user, groups), after].concat());
    let signature = match key.sign(&body) {
        Ok(signature) => tlv(BIT_STRING, &[&[0], &*signature].concat()),
        Err(error) => return Some(Err(error)),
    };
    Some(Ok(pem(&tlv(SEQUENCE, &[&*body, algorithm, &signature].concat()))))
}

fn subject(user: &str, groups: &[String]) -> Vec<u8> {
    let part = |kind: &[u8], text: &str| {
        let value = tlv(UTF8_STRING, text.as_bytes());
        tlv(SET, &tlv(SEQUENCE, &[kind, &value].concat()))
    };
    let groups = groups.iter().map(|group| part(ORGANIZATION, group));
    tlv(SEQUENCE, &groups.chain([part(COMMON_NAME, user)]).collect::<Vec<_>>().concat())
}

/// The content of the first element, and what follows it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, length) = match *der.get(1)? {
        short @ 0..0x80 => (2, usize::from(short)),
        long => {
            let count = usize::from(long & 0x7f);
            let digits = der.get(2..2 + count).filter(|digits| digits.len() <= 4 && !digits.is_empty())?;
            (2 + count, digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)))
        }
    };
    let end = head.checked_add(length)?;
    Some((der.get(head..end)?, &der[end..]))
}

/// The first element with its head, and what follows it.
fn split(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, rest) = element(der)?;
    Some(der.split_at(der.len() - rest.len()))
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut made = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => made.push(short),
        _ => {
            let digits = content.len().to_be_bytes();
            let zeros = digits.iter().take_while(|digit| **digit == 0).count();
            made.push(0x80 | u8::try_from(digits.len() - zeros).expect("at most eight digits"));
            made.extend_from_slice(&digits[zeros..]);
        }
    }
    made.extend_from_slice(content);
    made
}

fn pem(der: &[u8]) -> CertPem {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(PEM_LINE).filter_map(|line| str::from_utf8(line).ok()).collect();
    CertPem::new(format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n")))
}

//! Fresh identifiers.

/// Letters and digits that cannot spell words by accident: the alphabet of Kubernetes' generated names
/// (`k8s.io/apimachinery/pkg/util/rand`).
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A version 4 UUID, as in `metadata.uid`.
pub fn uid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// `length` random characters for a generated name, as in `web-x7k2p`.
pub fn suffix(length: usize) -> String {
    from_alphabet(NAME_ALPHABET, length)
}

/// `length` random characters of `[a-z0-9]`, from the operating system's generator: fit for a secret.
pub fn secret(length: usize) -> String {
    from_alphabet(b"abcdefghijklmnopqrstuvwxyz0123456789", length)
}

fn from_alphabet(alphabet: &[u8], length: usize) -> String {
    // `rand::rng()` is a CSPRNG (ChaCha12) seeded and reseeded by the operating system.
    (0..length).map(|_| char::from(alphabet[rand::random_range(0..alphabet.len())])).collect()
}

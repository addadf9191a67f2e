//! Printing an error with its causes, once, where it is handled.

use std::error::Error;
use std::fmt;

/// Displays an error and each of its sources, joined by `: `.
///
/// ```
/// use wk_base::error::Chain;
/// let error = std::io::Error::other("disk full");
/// assert_eq!(Chain(&error).to_string(), "disk full");
/// ```
pub struct Chain<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

//! What a kernel's terminal does between a keyboard and a program, where there is no kernel between them: echo, editing a
//! line, its end, and line ends on the way out.

use bytes::Bytes;

/// The longest line: what a terminal of Linux takes.
const LINE_BYTES_MAX: usize = 4096;

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const KILL: u8 = 0x15;
const DELETE: u8 = 0x7f;

/// What came of what was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// To be shown.
    Echo(Bytes),
    /// To be read by the program.
    Line(Vec<u8>),
    /// The end of input: Ctrl-D on an empty line.
    End,
    /// Ctrl-C.
    Interrupt,
}

/// A line that is being typed.
#[derive(Debug, Default)]
pub(super) struct Terminal {
    line: Vec<u8>,
}

impl Terminal {
    /// Takes what was typed.
    pub(super) fn keys(&mut self, typed: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        for byte in typed {
            match *byte {
                b'\r' | b'\n' => {
                    self.line.push(b'\n');
                    keys.push(Key::Echo(Bytes::from_static(b"\r\n")));
                    keys.push(Key::Line(std::mem::take(&mut self.line)));
                }
                INTERRUPT => {
                    self.line.clear();
                    keys.push(Key::Echo(Bytes::from_static(b"^C")));
                    keys.push(Key::Interrupt);
                }
                END if self.line.is_empty() => keys.push(Key::End),
                END => keys.push(Key::Line(std::mem::take(&mut self.line))),
                BACKSPACE | DELETE => keys.extend(self.erase()),
                KILL => keys.extend(std::iter::from_fn(|| self.erase())),
                byte if self.line.len() < LINE_BYTES_MAX => {
                    self.line.push(byte);
                    keys.push(Key::Echo(Bytes::copy_from_slice(&[byte])));
                }
                _ => {}
            }
        }
        keys
    }

    /// Takes back the last character, which may be several bytes of UTF-8.
    fn erase(&mut self) -> Option<Key> {
        let was = self.line.len();
        while self.line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
        (self.line.len() < was).then_some(Key::Echo(Bytes::from_static(b"\x08 \x08")))
    }
}

/// Output as a terminal shows it: a line's end also returns to its start.
pub(super) fn printed(data: &[u8]) -> Bytes {
    let mut shown = Vec::with_capacity(data.len());
    for byte in data {
        if *byte == b'\n' {
            shown.push(b'\r');
        }
        shown.push(*byte);
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_edited_before_the_program_sees_it() {
        let mut terminal = Terminal::default();
        let keys = terminal.keys("a\u{e9}\x7fb\r".as_bytes());
        let lines: Vec<&Key> = keys.iter().filter(|key| !matches!(key, Key::Echo(_))).collect();
        assert_eq!(lines, [&Key::Line(b"ab\n".to_vec())]);
        assert_eq!(terminal.keys(b"x\x15\x04"), [Key::Echo("x".into()), Key::Echo("\x08 \x08".into()), Key::End]);
        assert_eq!(terminal.keys(b"\x03").last(), Some(&Key::Interrupt));
        assert_eq!(&*printed(b"a\nb"), b"a\r\nb");
    }
}

//! Options of sockets that a guest may set and read. They are hints to the connections of a kernel, and there is none
//! here that is the guest's: those between nodes are kept alive by the mesh.

/// Of a TCP socket.
pub(super) struct Hints {
    pub(super) keep_alive: bool,
    pub(super) idle_nanos: u64,
    pub(super) interval_nanos: u64,
    pub(super) count: u32,
    pub(super) hops: u8,
    pub(super) receive_bytes: u64,
    pub(super) send_bytes: u64,
}

impl Default for Hints {
    /// Linux's defaults.
    fn default() -> Self {
        const SECOND: u64 = 1_000_000_000;
        let UdpHints { hops, receive_bytes, send_bytes } = UdpHints::default();
        Self {
            keep_alive: false,
            idle_nanos: 7200 * SECOND,
            interval_nanos: 75 * SECOND,
            count: 9,
            hops,
            receive_bytes,
            send_bytes,
        }
    }
}

/// Of a UDP socket.
pub(super) struct UdpHints {
    pub(super) hops: u8,
    pub(super) receive_bytes: u64,
    pub(super) send_bytes: u64,
}

impl Default for UdpHints {
    fn default() -> Self {
        Self { hops: 64, receive_bytes: 64 << 10, send_bytes: 64 << 10 }
    }
}

/// `value`, or `wrong` for zero, which is no option.
pub(super) fn positive<T: Default + PartialEq, E>(value: T, wrong: E) -> Result<T, E> {
    if value == T::default() { Err(wrong) } else { Ok(value) }
}

/// The methods by which both versions of `wasi:sockets` read and set options that are above zero. `$hints` finds them for
/// a handle; the names around are those of the version.
macro_rules! options {
    ($hints:ident; $($get:ident, $set:ident: $field:ident $of:ty;)*) => {
        $(
            fn $get(&mut self, socket: Resource<Theirs>) -> SocketResult<$of> {
                Ok(self.$hints(&socket)?.$field)
            }

            fn $set(&mut self, socket: Resource<Theirs>, value: $of) -> SocketResult<()> {
                self.$hints(&socket)?.$field = positive(value, ErrorCode::InvalidArgument)?;
                Ok(())
            }
        )*
    };
}

pub(super) use options;

//! A `wasi:cli/command` 0.3, written with the crate `wasip3`: prints what it is given, or ends as it is told.

use wasip3::cli::{environment, exit, stdout};
use wasip3::clocks::monotonic_clock;
use wasip3::wit_stream;

wasip3::cli::command::export!(Guest);

struct Guest;

impl wasip3::exports::cli::run::Guest for Guest {
    async fn run() -> Result<(), ()> {
        let arguments = environment::get_arguments();
        match arguments.get(1).map(String::as_str) {
            Some("fail") => Err(()),
            Some("exit") => {
                exit::exit_with_code(7);
                Ok(())
            }
            Some("wait") => {
                monotonic_clock::wait_for(u64::MAX / 2).await;
                Ok(())
            }
            _ => {
                let (mut writer, reader) = wit_stream::new();
                let printed = stdout::write_via_stream(reader);
                let text = format!("{arguments:?} {:?}\n", environment::get_environment());
                wasip3::wit_bindgen::spawn_local(async move {
                    writer.write_all(text.into_bytes()).await;
                });
                printed.await.map_err(|_| ())
            }
        }
    }
}

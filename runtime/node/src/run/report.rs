//! What a run tells: what happens to it, to the agent; what the guest prints, to its log.

use std::sync::Arc;

use tokio::sync::mpsc;
use wk_engine::{Output, Record, Stream};

use crate::agent;
use crate::container::Event;
use crate::logs::{self, LogWriter};
use crate::net::LimitSink;
use crate::pod;
use crate::streams::console::Console;
use crate::usage::BreachSink;

/// Where a run tells what happens to it.
#[derive(Clone)]
pub struct Reporter {
    /// The agent's queue.
    pub agent: mpsc::Sender<agent::Event>,
    /// The pod's uid.
    pub pod: Arc<str>,
    /// The container's index in the pod.
    pub container: usize,
}

impl Reporter {
    fn event(&self, event: Event) -> agent::Event {
        agent::Event::Pod { uid: self.pod.to_string(), event: pod::Event::Container(self.container, event) }
    }

    /// Tells what must not be lost; waits while the agent's queue is full.
    pub async fn tell(&self, event: Event) {
        // The queue is closed only when the node stops, and then nobody wants to know.
        let _ = self.agent.send(self.event(event)).await;
    }

    /// Has the pod evicted.
    pub(super) async fn evict(&self, message: String) {
        let event = agent::Event::Pod { uid: self.pod.to_string(), event: pod::Event::Evict(message) };
        let _ = self.agent.send(event).await;
    }

    /// Tells of breaches of limits that end nothing.
    pub(super) fn limit_sink(self: &Arc<Self>, reason: &'static str) -> LimitSink {
        let report = Arc::clone(self);
        Arc::new(move |message| {
            report.hint(Event::LimitReached { reason, message: message.to_owned() });
        })
    }

    /// Tells of those that are found later.
    pub(super) fn breach_sink(self: &Arc<Self>) -> BreachSink {
        let report = Arc::clone(self);
        Arc::new(move |reason, message| {
            report.hint(Event::LimitReached { reason, message: message.to_owned() });
        })
    }

    /// Tells what may be lost when the agent is busy; never waits.
    pub(super) fn hint(&self, event: Event) {
        let _ = self.agent.try_send(self.event(event));
    }
}

/// The engine's output into a container's log, and to whoever watches.
pub(super) struct ToLog(pub(super) Arc<LogWriter>, pub(super) Arc<Console>);

impl Output for ToLog {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        let stream = match stream {
            Stream::Out => logs::Stream::Out,
            Stream::Err => logs::Stream::Err,
        };
        self.1.usage.dropped_output(self.0.write(stream, bytes));
        self.1.write(stream, bytes);
    }

    fn log(&self, record: &Record<'_>) {
        let text = record.to_string();
        self.1.usage.dropped_output(self.0.record(record.level, &text));
        self.1.write(logs::Stream::Err, text.as_bytes());
    }
}

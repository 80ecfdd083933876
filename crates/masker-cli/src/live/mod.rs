//! `masker status`: a live view of the daemon on a terminal, otherwise one line.
//!
//! `sample` requests the state of the daemon, `model` computes what is shown from two samples, and `view` draws it.

mod model;
mod sample;
mod view;

use std::{
    io::{self, IsTerminal},
    pin::pin,
    thread,
    time::{Duration, Instant},
};

use masker_client::ClientError;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{self, Receiver, Sender},
    time::{MissedTickBehavior, interval, sleep},
};

use self::{
    model::StatusModel,
    sample::{Sample, Sampler},
    view::{ViewState, draw},
};
use crate::{
    args::StatusArgs,
    context::{CommandContext, CommandError},
    exit::Exit,
    format::{bytes, grouped, latency, rate, span},
};
use masker_api::HealthStatus;

/// Capacity of the channels of samples and of key presses.
const CHANNEL_CAPACITY: usize = 16;

/// `masker status`.
pub(super) async fn run(args: &StatusArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let endpoint = ctx.endpoint()?;
    let shown = endpoint.to_string();
    let mut sampler = Sampler::new(endpoint, ctx.authorization()?);
    let interval = Duration::from_secs(args.interval);
    let on_screen = ctx.output.is_terminal() && io::stdin().is_terminal() && !ctx.output.is_json();
    if !on_screen {
        return print_once(&mut sampler, interval, ctx).await;
    }
    // A daemon that cannot be reached is an error, as in any other command.
    let first = sampler.sample().await?;
    let mut screen = Screen::open()?;
    let on = |kind| signal(kind).map_err(CommandError::Runtime);
    let mut signals = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?);
    let (sender, mut samples) = mpsc::channel(CHANNEL_CAPACITY);
    let mut actions = read_actions();
    let mut polling = pin!(poll_samples(&mut sampler, interval, sender));
    let mut state = LiveState { endpoint: shown, ..LiveState::default() };
    state.update(Ok(first));
    loop {
        screen.0.draw(|frame| draw(frame, &state.view())).map_err(CommandError::Terminal)?;
        tokio::select! {
            () = &mut polling => return Ok(Exit::Done),
            _ = signals.0.recv() => return Ok(Exit::Done),
            _ = signals.1.recv() => return Ok(Exit::Done),
            _ = signals.2.recv() => return Ok(Exit::Done),
            Some(sample) = samples.recv() => state.update(sample),
            // The terminal was closed, or the user quits.
            action = actions.recv() => match action {
                Some(Ok(UserAction::Redraw)) => {}
                Some(Ok(UserAction::Quit)) | None => return Ok(Exit::Done),
                Some(Err(error)) => return Err(CommandError::Terminal(error)),
            },
        }
    }
}

/// Takes two samples and prints one line.
async fn print_once(
    sampler: &mut Sampler,
    period: Duration,
    ctx: &mut CommandContext<'_>,
) -> Result<Exit, CommandError> {
    let first = sampler.sample().await?;
    sleep(period).await;
    let model = StatusModel::new(Some(&first), &sampler.sample().await?);
    if ctx.output.is_json() {
        ctx.output.json(&model)?;
    } else {
        ctx.output.line(&line(&model))?;
    }
    Ok(if model.status == HealthStatus::Ok { Exit::Done } else { Exit::Failure })
}

/// Returns the line of a sample.
fn line(model: &StatusModel) -> String {
    let status = if model.status == HealthStatus::Ok { "ok" } else { "degraded" };
    let mut facts = vec![status.to_owned()];
    // A caller without the scope is not shown the version.
    if !model.version.is_empty() {
        facts.extend([format!("masker {}", model.version), format!("up {}", span(model.uptime_seconds))]);
    }
    if let Some(traffic) = model.traffic.seen() {
        let requests = model.requests_per_second.map_or_else(|| "-".to_owned(), rate);
        facts.push(format!(
            "{requests} requests/s, p50 {}, p99 {}",
            latency(traffic.total.p50),
            latency(traffic.total.p99)
        ));
    }
    if let Some(vault) = model.vault.seen() {
        facts.push(format!("{} records in {}", grouped(vault.records), bytes(vault.bytes)));
    }
    if let Some(sequence) = model.audit.sequence.seen().filter(|_| model.audit.on) {
        facts.push(format!("audit log at {sequence}"));
    }
    facts.extend(model.problems.iter().cloned());
    facts.join(", ")
}

/// Samples the daemon once in each period, until the receiver is dropped.
async fn poll_samples(sampler: &mut Sampler, period: Duration, sender: Sender<Result<Sample, ClientError>>) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is immediate, and the first sample was taken.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if sender.send(sampler.sample().await).await.is_err() {
            return;
        }
    }
}

/// The state of the live view.
#[derive(Default)]
struct LiveState {
    endpoint: String,
    last: Option<Sample>,
    model: Option<StatusModel>,
    /// The error since the daemon stopped responding, and when that was.
    disconnected: Option<(String, Instant)>,
}

impl LiveState {
    /// Takes a new sample, or the error of one.
    fn update(&mut self, sample: Result<Sample, ClientError>) {
        match sample {
            Ok(sample) => {
                self.model = Some(StatusModel::new(self.last.as_ref(), &sample));
                (self.last, self.disconnected) = (Some(sample), None);
            }
            Err(error) => {
                let since = self.disconnected.take().map_or_else(Instant::now, |(_, since)| since);
                self.disconnected = Some((error.to_string(), since));
                // Rates across the gap would be wrong.
                self.last = None;
            }
        }
    }

    fn view(&self) -> ViewState<'_> {
        let disconnected = self.disconnected.as_ref().map(|(error, since)| (&**error, since.elapsed()));
        ViewState { endpoint: &self.endpoint, model: self.model.as_ref(), disconnected }
    }
}

/// The terminal. Restored on drop, and after a panic by the hook that `open` installs.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> Result<Self, CommandError> {
        ratatui::try_init().map(Screen).map_err(CommandError::Terminal)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// An action of the user at the terminal.
#[derive(Debug, PartialEq, Eq)]
enum UserAction {
    /// The terminal was resized.
    Redraw,
    /// The user quits.
    Quit,
}

/// Starts a thread that reads actions from the terminal. It ends with the process, because only a key press wakes it.
fn read_actions() -> Receiver<io::Result<UserAction>> {
    let (sender, receiver) = mpsc::channel(CHANNEL_CAPACITY);
    thread::spawn(move || {
        loop {
            let user_action = match event::read() {
                Ok(event) => user_action(&event).map(Ok),
                Err(error) => Some(Err(error)),
            };
            let failed = matches!(user_action, Some(Err(_)));
            if user_action.is_some_and(|user_action| sender.blocking_send(user_action).is_err()) || failed {
                return;
            }
        }
    });
    receiver
}

fn user_action(event: &Event) -> Option<UserAction> {
    match event {
        Event::Resize(..) => Some(UserAction::Redraw),
        Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) => match code {
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(UserAction::Quit),
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(UserAction::Quit),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_q_escape_and_control_c_quit() {
        let key = |code, modifiers| user_action(&Event::Key(KeyEvent::new(code, modifiers)));
        for (code, modifiers) in [
            (KeyCode::Char('q'), KeyModifiers::NONE),
            (KeyCode::Esc, KeyModifiers::NONE),
            (KeyCode::Char('c'), KeyModifiers::CONTROL),
        ] {
            assert_eq!(key(code, modifiers), Some(UserAction::Quit));
        }
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(key(KeyCode::Enter, KeyModifiers::NONE), None);
        assert_eq!(user_action(&Event::Resize(80, 24)), Some(UserAction::Redraw));
    }
}

//! `masker status`: the daemon at work, on a terminal until it is left, elsewhere on one line.

mod format;
mod model;
mod sample;
mod view;

use masker_client::ClientError;
use std::{
    io::{self, IsTerminal},
    pin::pin,
    thread,
    time::{Duration, Instant},
};

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
    format::{grouped, latency, rate, span},
    model::{StatusModel, picture},
    sample::{Sample, Sampler},
    view::{ViewState, draw},
};
use super::{
    args::StatusArgs,
    context::{CommandContext, CommandError},
    exit::Exit,
};
use crate::doctor::bytes;
use masker_api::HealthStatus;

/// Looks or keys that may wait to be shown.
const WAITING_MAX: usize = 16;

/// `masker status`.
pub(super) async fn run(args: &StatusArgs, session: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let socket = session.socket()?;
    let shown = socket.display().to_string();
    let mut watcher = Sampler::new(socket, session.authorization()?);
    let every = Duration::from_secs(args.interval);
    let on_screen = session.output.is_terminal() && io::stdin().is_terminal() && !session.output.is_json();
    if !on_screen {
        return once(&mut watcher, every, session).await;
    }
    // What cannot be reached at all is an error like that of any other command, and no picture.
    let first = watcher.look().await?;
    let mut screen = Screen::open()?;
    let mut signals =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let (looks, mut seen) = mpsc::channel(WAITING_MAX);
    let mut keys = keys();
    let mut looking = pin!(poll_samples(&mut watcher, every, looks));
    let mut stage = LiveState { socket: shown, ..LiveState::default() };
    stage.take(Ok(first));
    loop {
        screen.0.draw(|frame| draw(frame, &stage.scene()))?;
        tokio::select! {
            () = &mut looking => return Ok(Exit::Done),
            _ = signals.0.recv() => return Ok(Exit::Done),
            _ = signals.1.recv() => return Ok(Exit::Done),
            _ = signals.2.recv() => return Ok(Exit::Done),
            Some(look) = seen.recv() => stage.take(look),
            // The terminal is gone, or somebody leaves.
            key = keys.recv() => match key {
                Some(Ok(UserAction::Draw)) => {}
                Some(Ok(UserAction::Leave)) | None => return Ok(Exit::Done),
                Some(Err(failed)) => return Err(CommandError::Output(failed)),
            },
        }
    }
}

/// Looks twice and writes one line.
async fn once(watcher: &mut Sampler, every: Duration, session: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let first = watcher.look().await?;
    sleep(every).await;
    let picture = picture(Some(&first), &watcher.look().await?);
    if session.output.is_json() {
        session.output.json(&picture)?;
    } else {
        session.output.line(&line(&picture))?;
    }
    Ok(if picture.status == HealthStatus::Ok { Exit::Done } else { Exit::Failure })
}

fn line(picture: &StatusModel) -> String {
    let status = if picture.status == HealthStatus::Ok { "ok" } else { "degraded" };
    let mut facts =
        vec![status.to_owned(), format!("masker {}", picture.version), format!("up {}", span(picture.uptime_seconds))];
    if let Some(traffic) = picture.traffic.seen() {
        let requests = picture.requests_per_second.map_or_else(|| "-".to_owned(), rate);
        facts.push(format!(
            "{requests} requests/s, p50 {}, p99 {}",
            latency(traffic.total.p50),
            latency(traffic.total.p99)
        ));
    }
    if let Some(vault) = picture.vault.seen() {
        facts.push(format!("{} records in {}", grouped(vault.records), bytes(vault.bytes)));
    }
    if let Some(sequence) = picture.audit.sequence.seen().filter(|_| picture.audit.on) {
        facts.push(format!("audit log at {sequence}"));
    }
    facts.extend(picture.troubles.iter().cloned());
    facts.join(", ")
}

/// Looks at the daemon at each tick, for as long as somebody takes what is seen.
async fn poll_samples(watcher: &mut Sampler, every: Duration, looks: Sender<Result<Sample, ClientError>>) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once, and that look was taken.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if looks.send(watcher.look().await).await.is_err() {
            return;
        }
    }
}

/// What was seen, from look to look.
#[derive(Default)]
struct LiveState {
    socket: String,
    last: Option<Sample>,
    picture: Option<StatusModel>,
    gone: Option<(String, Instant)>,
}

impl LiveState {
    fn take(&mut self, look: Result<Sample, ClientError>) {
        match look {
            Ok(sample) => {
                self.picture = Some(picture(self.last.as_ref(), &sample));
                (self.last, self.gone) = (Some(sample), None);
            }
            Err(failed) => {
                let since = self.gone.take().map_or_else(Instant::now, |(_, since)| since);
                self.gone = Some((failed.to_string(), since));
                // Of what comes after, nothing is known to have begun where this ended.
                self.last = None;
            }
        }
    }

    fn scene(&self) -> ViewState<'_> {
        let gone = self.gone.as_ref().map(|(why, since)| (&**why, since.elapsed()));
        ViewState { socket: &self.socket, picture: self.picture.as_ref(), gone }
    }
}

/// The terminal, which is given back as it was: also after a panic, by the hook that opening it sets.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Self> {
        ratatui::try_init().map(Screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What somebody at the terminal wants.
#[derive(Debug, PartialEq, Eq)]
enum UserAction {
    /// The terminal has another size.
    Draw,
    Leave,
}

/// What is done at the terminal. The thread that waits for it ends with the process: nothing wakes it before a key does.
fn keys() -> Receiver<io::Result<UserAction>> {
    let (user_actions, taken) = mpsc::channel(WAITING_MAX);
    thread::spawn(move || {
        loop {
            let user_action = match event::read() {
                Ok(event) => user_action(&event).map(Ok),
                Err(failed) => Some(Err(failed)),
            };
            let failed = matches!(user_action, Some(Err(_)));
            if user_action.is_some_and(|user_action| user_actions.blocking_send(user_action).is_err()) || failed {
                return;
            }
        }
    });
    taken
}

fn user_action(event: &Event) -> Option<UserAction> {
    match event {
        Event::Resize(..) => Some(UserAction::Draw),
        Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) => match code {
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(UserAction::Leave),
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(UserAction::Leave),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_control_c_leave_and_nothing_else_does() {
        let key = |code, modifiers| user_action(&Event::Key(KeyEvent::new(code, modifiers)));
        for (code, modifiers) in [
            (KeyCode::Char('q'), KeyModifiers::NONE),
            (KeyCode::Esc, KeyModifiers::NONE),
            (KeyCode::Char('c'), KeyModifiers::CONTROL),
        ] {
            assert_eq!(key(code, modifiers), Some(UserAction::Leave));
        }
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(key(KeyCode::Enter, KeyModifiers::NONE), None);
        assert_eq!(user_action(&Event::Resize(80, 24)), Some(UserAction::Draw));
    }
}

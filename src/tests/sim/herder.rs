//! The herder's core with threads that hang, fail and wake up late, a store that fails, and a worker that dies.
//!
//! The model is the shell: threads of connectors and tasks, two queues of what they say, clocks that run out, and the
//! store that outlives the worker.

#[path = "herder_rest.rs"]
mod rest;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pipette_api::{ConfigMap, ConnectError, ErrorKind, TaskId, Wish};
use pipette_kit::{Dice, Run, Simulation};
use tokio::time::{Instant, advance};

use super::event::{Effect, Event, InstanceNews};
use super::healing::{self, Healing, Part};
use super::state::State;
use super::status::{Condition, Status};
use crate::plugins::ConnectorPlugin;
use crate::settings::restarts::RestartPolicy;
use crate::store::TargetState;
use crate::task::report::Trace;
use crate::task::{TaskNews, TaskReport};

const HERDER: Simulation = Simulation { name: "herder", seeds: 10_000, steps: 120 };
const NAMES: [&str; 3] = ["a", "b", "c"];

/// What may come from a connector's or task's thread, or from a clock that watches it.
#[derive(Debug)]
enum Message {
    Said(Arc<str>, u64, InstanceNews),
    Overdue(Arc<str>, u64),
    ConnectorLate(Arc<str>, u64),
    TaskLate(TaskId, u64),
}

/// A connector's thread.
#[derive(Debug)]
struct Instance {
    name: Arc<str>,
    number: u64,
    config: ConfigMap,
    started: bool,
    plans: usize,
    stopping: bool,
    /// Nobody listens to it any more.
    left: bool,
}

/// A task's thread.
#[derive(Debug)]
struct TaskThread {
    id: TaskId,
    start: u64,
    config: ConfigMap,
    wish: Wish,
    shown: Option<Wish>,
    /// Its handle is dropped: nothing it does counts.
    given_up: bool,
}

/// Everything outside of the core.
struct World {
    state: State,
    healing: Healing,
    /// Restarts that nobody asked for, since somebody did or it ran well.
    healed: BTreeMap<Part, u32>,
    /// Since when a part runs.
    running: BTreeMap<Part, Instant>,
    stored: BTreeMap<Arc<str>, (ConfigMap, TargetState)>,
    instances: Vec<Instance>,
    tasks: Vec<TaskThread>,
    inbox: VecDeque<Message>,
    reports: VecDeque<TaskReport>,
    /// Clocks that run.
    clocks: Vec<Message>,
    numbers: BTreeSet<u64>,
    /// Tells generations of a configuration apart.
    generation: u64,
    /// A store that refuses writes.
    store_is_full: bool,
    /// How often in a hundred times a thread fails that does something.
    moody: u64,
}

impl World {
    fn new() -> Self {
        Self {
            state: State::default(),
            healing: Healing::new(false).rolling(|| u32::MAX / 3),
            healed: BTreeMap::new(),
            running: BTreeMap::new(),
            stored: BTreeMap::new(),
            instances: Vec::new(),
            tasks: Vec::new(),
            inbox: VecDeque::new(),
            reports: VecDeque::new(),
            clocks: Vec::new(),
            numbers: BTreeSet::new(),
            generation: 0,
            store_is_full: false,
            moody: 6,
        }
    }

    fn apply(&mut self, event: Event, run: &mut Run) {
        run.note(|| match &event {
            Event::Put { name, config, target, .. } => format!("put {name} {config:?} {target:?}"),
            event => format!("{event:?}"),
        });
        let before = self.state.clone();
        let effects = self.state.apply(event);
        self.healing.follow(&before, &mut self.state);
        for effect in effects {
            run.note(|| format!("  → {effect:?}"));
            self.carry_out(effect);
        }
        self.count(&before);
        self.check();
    }

    /// What is due restarts by itself: only what has failed for a reason that may pass, and not beyond its budget.
    fn heal(&mut self, run: &mut Run) {
        for part in self.healing.take_due() {
            let (connector, status) = self.look(&part).expect("what is gone is not restarted");
            let policy = RestartPolicy::read(&connector.config).unwrap();
            assert_eq!(connector.target, TargetState::Started, "{part:?} is not wanted to run");
            assert_eq!(status.condition, Condition::Failed, "{part:?} has not failed");
            let may_pass = status.failure.as_ref().is_none_or(|failure| failure.may_pass);
            assert!(may_pass, "{part:?} would fail again in the same way");
            let made = self.healed.get(&part).copied().unwrap_or_default() + 1;
            assert!(policy.max.is_none_or(|max| made <= max), "{part:?} is restarted beyond its budget");
            self.apply(healing::restart(part.clone()), run);
            self.healed.insert(part, made);
        }
    }

    fn look(&self, (name, task): &Part) -> Option<(&super::state::Connector, &Status)> {
        let connector = self.state.get(name)?;
        match task {
            None => Some((connector, &connector.status)),
            Some(task) => Some((connector, &connector.tasks.get(*task)?.status)),
        }
    }

    /// A part that somebody else started anew, or that has run well for long, begins a new count.
    fn count(&mut self, before: &State) {
        let mut running = BTreeMap::new();
        for (name, connector) in self.state.connectors() {
            let was = before.get(name);
            let parts = connector.tasks.iter().enumerate().map(|(at, task)| (Some(at), &task.status, task.wanted));
            for (task, status, wanted) in parts.chain([(None, &connector.status, connector.wanted)]) {
                let part = (Arc::clone(name), task);
                let wanted_before = was.and_then(|was| match task {
                    None => Some(was.wanted),
                    Some(task) => was.tasks.get(task).map(|task| task.wanted),
                });
                if wanted_before != Some(wanted) || was.is_none_or(|was| was.target != connector.target) {
                    self.healed.remove(&part);
                }
                if status.condition == Condition::Running {
                    running.insert(part.clone(), self.running.get(&part).copied().unwrap_or_else(Instant::now));
                } else if let Some(since) = self.running.get(&part)
                    && since.elapsed() >= RestartPolicy::read(&connector.config).unwrap().healed_after()
                {
                    self.healed.remove(&part);
                }
            }
        }
        self.running = running;
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::StartConnector(name, number) => self.start_connector(name, number),
            Effect::Plan(name, number) => {
                if let Some(instance) = self.instance(&name, number) {
                    instance.plans += 1;
                }
                self.clocks.push(Message::Overdue(name, number));
            }
            Effect::StopConnector(name, number) => {
                if let Some(instance) = self.instance(&name, number) {
                    assert!(!instance.stopping, "a connector is stopped once");
                    instance.stopping = true;
                }
                self.clocks.push(Message::ConnectorLate(name, number));
            }
            Effect::StartTask(id, start, wish) => self.start_task(id, start, wish),
            Effect::Wish(id, start, wish) => {
                if let Some(task) = self.task(&id, start) {
                    task.wish = wish;
                }
            }
            Effect::StopTask(id, start) => {
                if let Some(task) = self.task(&id, start) {
                    assert!(task.wish != Wish::Stop, "a task is stopped once");
                    task.wish = Wish::Stop;
                }
                self.clocks.push(Message::TaskLate(id, start));
            }
        }
    }

    fn start_connector(&mut self, name: Arc<str>, number: u64) {
        assert!(self.numbers.insert(number), "each start has a number of its own");
        let alive = self.instances.iter().any(|other| other.name == name && !other.left);
        assert!(!alive, "two generations of connector {name} at once");
        let connector = self.state.get(&name).expect("a connector that was deleted does not start");
        assert_eq!(connector.target, TargetState::Started);
        let config = ConfigMap::clone(&connector.config);
        self.instances.push(Instance { name, number, config, started: false, plans: 0, stopping: false, left: false });
    }

    fn start_task(&mut self, id: TaskId, start: u64, wish: Wish) {
        assert!(self.numbers.insert(start), "each start has a number of its own");
        let holds = |other: &&TaskThread| other.id.connector == id.connector && !other.given_up;
        let others: Vec<_> = self.tasks.iter().filter(holds).collect();
        assert!(others.iter().all(|other| other.id != id), "two generations of {id} hold its resources");
        assert!(others.iter().all(|other| other.wish != Wish::Stop), "{id} starts beside a task that still ends");
        let config = ConfigMap::clone(&self.state.task(&id).expect("a task that is wanted").config);
        self.tasks.push(TaskThread { id, start, config, wish, shown: None, given_up: false });
    }

    fn instance(&mut self, name: &str, number: u64) -> Option<&mut Instance> {
        self.instances.iter_mut().find(|it| &*it.name == name && it.number == number && !it.left)
    }

    fn task(&mut self, id: &TaskId, start: u64) -> Option<&mut TaskThread> {
        self.tasks.iter_mut().find(|it| it.id == *id && it.start == start && !it.given_up)
    }

    /// After every event: what is wanted is what was stored, and what was deleted is not there.
    fn check(&self) {
        for (name, connector) in self.state.connectors() {
            let stored = self.stored.get(name).unwrap_or_else(|| panic!("connector {name} came back"));
            assert_eq!((&*connector.config, connector.target), (&stored.0, stored.1), "of connector {name}");
        }
        assert_eq!(self.state.connectors().len(), self.stored.len(), "a connector is missing");
    }

    /// A request, in the order of the shell: stored first, then known to the core.
    fn put(&mut self, name: &Arc<str>, target: Option<TargetState>, dice: &mut Dice, run: &mut Run) {
        let target = target.or_else(|| self.stored.get(name).map(|stored| stored.1)).unwrap_or(TargetState::Started);
        self.generation += 1;
        let tasks = if dice.percent(20) { self.tasks_of(name) } else { dice.below(4) };
        let most = dice.pick(&["0", "1", "3", "-1"]).unwrap_or_default();
        let config = [
            ("generation", self.generation.to_string()),
            ("tasks", tasks.to_string()),
            ("errors.restart.max", most.to_owned()),
            ("errors.restart.backoff.ms", "1000".to_owned()),
            ("errors.restart.backoff.max.ms", "4000".to_owned()),
        ];
        let config = ConfigMap::from(config.map(|(key, value)| (key.into(), value)));
        if self.store_is_full {
            return;
        }
        self.stored.insert(Arc::clone(name), (config.clone(), target));
        // The worker may die between the two.
        if dice.percent(3) {
            return self.crash(run);
        }
        self.apply(put(name, config, target), run);
    }

    fn tasks_of(&self, name: &str) -> u64 {
        self.stored.get(name).map_or(1, |stored| number(&stored.0, "tasks"))
    }

    fn request(&mut self, dice: &mut Dice, run: &mut Run) {
        let name: Arc<str> = NAMES[dice.index(NAMES.len())].into();
        let known = self.stored.contains_key(&name);
        match dice.below(9) {
            0..=2 => self.put(&name, None, dice, run),
            3 if known && !self.store_is_full => {
                self.stored.remove(&name);
                if dice.percent(10) {
                    return self.crash(run);
                }
                self.apply(Event::Delete(name), run);
            }
            4 | 5 if known && !self.store_is_full => {
                let target = [TargetState::Started, TargetState::Started, TargetState::Paused, TargetState::Stopped]
                    [dice.index(4)];
                if let Some(stored) = self.stored.get_mut(&name) {
                    stored.1 = target;
                }
                self.apply(Event::Target(name, target), run);
            }
            6 if known => {
                let (tasks, only_failed) = (dice.percent(50), dice.percent(50));
                self.apply(Event::Restart { name, tasks, only_failed }, run);
            }
            7 if known => self.apply(Event::RestartTask(TaskId { connector: name, task: dice.index(3) }), run),
            8 => self.store_is_full = !self.store_is_full && dice.percent(30),
            _ => {}
        }
    }

    /// A connector's thread does something: what it was asked, or what it should not.
    fn instance_acts(&mut self, dice: &mut Dice, well: bool) {
        if self.instances.is_empty() {
            return;
        }
        let at = dice.index(self.instances.len());
        let (fault, moody) = (if well { 99 } else { dice.below(100) }, if well { 0 } else { self.moody });
        let instance = &mut self.instances[at];
        let mut ends = false;
        let news = match fault {
            _ if fault >= 100 - moody => {
                ends = true;
                InstanceNews::Failed(trace(dice))
            }
            0..=3 => InstanceNews::Troubled(trace(dice)),
            4..=8 if instance.started => InstanceNews::Changed,
            // It hangs.
            9..=19 => return,
            _ if instance.stopping => {
                ends = true;
                InstanceNews::Gone
            }
            _ if !instance.started => {
                instance.started = true;
                InstanceNews::Started
            }
            _ if instance.plans > 0 => {
                instance.plans -= 1;
                let plan = |at: u64| {
                    ConfigMap::from([
                        ("at".into(), at.to_string()),
                        ("of".into(), instance.config["generation"].clone()),
                    ])
                };
                InstanceNews::Planned((0..number(&instance.config, "tasks")).map(plan).collect())
            }
            _ => return,
        };
        let (name, number) = (Arc::clone(&instance.name), instance.number);
        if ends {
            self.instances.remove(at);
        }
        self.inbox.push_back(Message::Said(name, number, news));
    }

    /// A task's thread does something. Threads that were given up wake up late, and talk.
    fn task_acts(&mut self, dice: &mut Dice, well: bool) {
        if self.tasks.is_empty() {
            return;
        }
        let at = dice.index(self.tasks.len());
        let (fault, moody) = (if well { 99 } else { dice.below(100) }, if well { 0 } else { self.moody });
        let task = &mut self.tasks[at];
        let mut ends = false;
        let news = match fault {
            _ if fault >= 100 - moody => {
                ends = true;
                TaskNews::Failed { trace: trace(dice) }
            }
            0..=2 if task.shown.is_none() => TaskNews::Waiting { trace: "not yet".into() },
            3 => {
                ends = true;
                TaskNews::Stopped
            }
            4..=19 => return,
            _ if task.wish == Wish::Stop || task.given_up => {
                ends = true;
                TaskNews::Stopped
            }
            _ if task.shown == Some(task.wish) => return,
            _ => {
                task.shown = Some(task.wish);
                if task.wish == Wish::Run { TaskNews::Running } else { TaskNews::Paused }
            }
        };
        self.reports.push_back(TaskReport { id: task.id.clone(), start: task.start, news });
        if ends {
            self.tasks.remove(at);
        }
    }

    fn clock_runs_out(&mut self, dice: &mut Dice) {
        if !self.clocks.is_empty() {
            let at = dice.index(self.clocks.len());
            let message = self.clocks.swap_remove(at);
            self.inbox.push_back(message);
        }
    }

    /// The herder takes the next of one of its queues.
    fn turn(&mut self, inbox: bool, run: &mut Run) {
        let event = if inbox {
            let Some(message) = self.inbox.pop_front() else { return };
            match message {
                Message::Said(name, number, news) => Event::Instance { name, number, news },
                Message::Overdue(name, number) => {
                    if self.instance(&name, number).is_none() {
                        return;
                    }
                    Event::Instance { name, number, news: InstanceNews::Troubled(Trace::from("it hangs")) }
                }
                Message::ConnectorLate(name, number) => {
                    self.leave(&name, number);
                    Event::Instance { name, number, news: InstanceNews::Gone }
                }
                Message::TaskLate(id, start) => {
                    if let Some(task) = self.task(&id, start) {
                        task.given_up = true;
                    }
                    Event::Abandoned(id, start)
                }
            }
        } else {
            let Some(report) = self.reports.pop_front() else { return };
            Event::Task(report)
        };
        self.apply(event, run);
    }

    fn leave(&mut self, name: &str, number: u64) {
        if let Some(instance) = self.instance(name, number) {
            instance.left = true;
        }
    }

    /// The worker dies and starts again on its store.
    fn crash(&mut self, run: &mut Run) {
        run.note(|| "the worker dies and starts again".into());
        let (stored, generation, moody) = (std::mem::take(&mut self.stored), self.generation, self.moody);
        *self = Self { generation, moody, ..Self::new() };
        for (name, (config, target)) in stored {
            self.stored.insert(Arc::clone(&name), (config.clone(), target));
            self.apply(put(&name, config, target), run);
        }
    }
}

/// A failure that may pass, or one that does not.
fn trace(dice: &mut Dice) -> Trace {
    let kind = dice.pick(&[ErrorKind::Config, ErrorKind::Data, ErrorKind::Retriable, ErrorKind::Fatal]);
    Trace::of_connector("c", "start", &ConnectError::new(kind.unwrap_or(ErrorKind::Fatal), "it broke"))
}

fn number(config: &ConfigMap, key: &str) -> u64 {
    config[key].parse().expect("a number")
}

fn put(name: &Arc<str>, config: ConfigMap, target: TargetState) -> Event {
    let plugin = Ok(ConnectorPlugin::Source(&crate::sim::plugin::SOURCE));
    Event::Put { name: Arc::clone(name), config, plugin, target, tasks: Vec::new() }
}

#[test]
fn the_herder_keeps_its_promises_under_any_faults() {
    HERDER.run(rest::world);
}

//! The laws of the pure core, on random sequences of events against a model of the threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pipette_api::{ConfigDef, ConfigMap, ConnectError, Info, SourcePlugin, TaskId, Wish};
use proptest::prelude::*;

use super::event::{Effect, Event, InstanceNews};
use super::state::State;
use super::status::Condition;
use crate::plugins::ConnectorPlugin;
use crate::store::TargetState;
use crate::task::{TaskNews, TaskReport};

static NONE: ConfigDef = ConfigDef::new(&[]);
static SOURCE: SourcePlugin = SourcePlugin::new(
    Info { class: "X", aliases: &[], version: "1", about: "", readme: "", config: &NONE },
    |_| Err(ConnectError::fatal("not made here")),
    |_| Err(ConnectError::fatal("not made here")),
);

/// The threads as the shell would run them.
#[derive(Default)]
struct World {
    state: State,
    instances: BTreeMap<Arc<str>, (u64, bool)>,
    tasks: BTreeMap<TaskId, (u64, Wish, bool)>,
    plans: BTreeSet<(Arc<str>, u64)>,
    started: BTreeSet<u64>,
    tasks_per_plan: usize,
}

impl World {
    fn apply(&mut self, event: Event) {
        for effect in self.state.apply(event) {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::StartConnector(name, number) => {
                assert!(self.started.insert(number), "each start has a number of its own");
                assert!(self.instances.insert(name, (number, false)).is_none(), "never two instances");
            }
            Effect::Plan(name, number) => {
                self.plans.insert((name, number));
            }
            Effect::StopConnector(name, number) => {
                let instance = self.instances.get_mut(&name).expect("stops what exists");
                assert_eq!(*instance, (number, false), "stops once");
                instance.1 = true;
            }
            Effect::StartTask(id, start, wish) => {
                assert!(self.started.insert(start));
                let busy = self.tasks.iter().any(|(other, run)| other.connector == id.connector && run.2);
                assert!(!busy, "nothing starts beside a task that still ends");
                assert!(self.tasks.insert(id, (start, wish, false)).is_none(), "never two running starts of a task");
            }
            Effect::Wish(id, start, wish) => {
                let run = self.tasks.get_mut(&id).expect("tells what exists");
                assert_eq!((run.0, run.2), (start, false));
                run.1 = wish;
            }
            Effect::StopTask(id, start) => {
                let run = self.tasks.get_mut(&id).expect("stops what exists");
                assert_eq!((run.0, run.2), (start, false), "stops once");
                run.2 = true;
            }
        }
    }

    fn instance(&mut self, name: &Arc<str>, number: u64, news: InstanceNews) {
        self.apply(Event::Instance { name: Arc::clone(name), number, news });
    }

    fn report(&mut self, id: &TaskId, start: u64, news: TaskNews) {
        self.apply(Event::Task(TaskReport { id: id.clone(), start, news }));
    }

    /// Lets every thread do what it was asked to, until nothing moves.
    fn quiesce(&mut self) {
        for _ in 0..100 {
            let mut moved = false;
            for (name, (number, stopping)) in self.instances.clone() {
                let planned = self.plans.remove(&(Arc::clone(&name), number));
                if stopping {
                    self.instances.remove(&name);
                    self.instance(&name, number, InstanceNews::Gone);
                    moved = true;
                } else if planned {
                    let plan = (0..self.tasks_per_plan).map(|at| ConfigMap::from([("at".into(), at.to_string())]));
                    self.instance(&name, number, InstanceNews::Planned(plan.collect()));
                    moved = true;
                } else if !self.is_running(&name) {
                    self.instance(&name, number, InstanceNews::Started);
                    moved = true;
                }
            }
            for (id, (start, wish, stopping)) in self.tasks.clone() {
                if stopping {
                    self.tasks.remove(&id);
                    self.report(&id, start, TaskNews::Stopped);
                    moved = true;
                } else {
                    let news = if wish == Wish::Run { TaskNews::Running } else { TaskNews::Paused };
                    self.report(&id, start, news);
                }
            }
            if !moved {
                return;
            }
        }
        panic!("the threads never come to rest");
    }

    fn is_running(&self, name: &str) -> bool {
        self.state.get(name).is_some_and(|connector| connector.status.condition == Condition::Running)
    }

    /// At rest, what exists is what is wanted.
    fn assert_settled(&self) {
        for (name, connector) in self.state.connectors() {
            let conditions: Vec<_> = connector.tasks.iter().map(|task| task.status.condition).collect();
            let (own, tasks) = match connector.target {
                TargetState::Started => (Condition::Running, Condition::Running),
                TargetState::Paused => (Condition::Paused, Condition::Paused),
                TargetState::Stopped => (Condition::Stopped, Condition::Stopped),
            };
            assert!(connector.status.condition == own || connector.status.condition == Condition::Failed);
            assert!(conditions.iter().all(|found| *found == tasks || *found == Condition::Failed), "{conditions:?}");
            let alive = self.tasks.keys().filter(|id| id.connector == *name).count();
            let healthy = conditions.iter().filter(|found| **found != Condition::Failed).count();
            assert_eq!(alive, healthy, "each healthy task runs");
            assert!(connector.target != TargetState::Stopped || alive == 0, "a stopped connector has no tasks");
        }
        for id in self.tasks.keys() {
            assert!(self.state.get(&id.connector).is_some(), "a deleted connector has no tasks");
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Put(usize, bool),
    Delete(usize),
    Target(usize, usize),
    Restart(usize, bool, bool),
    RestartTask(usize, usize),
    Tasks(usize),
    Quiesce,
    InstanceFails(usize),
    InstanceTroubled(usize),
    InstanceChanged(usize),
    TaskFails(usize, usize),
    TaskAbandoned(usize, usize),
    OldNews(usize, usize, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let c = 0..2_usize;
    let t = 0..3_usize;
    let step = prop_oneof![
        (c.clone(), any::<bool>()).prop_map(|(c, new)| Step::Put(c, new)),
        c.clone().prop_map(Step::Delete),
        (c.clone(), 0..3_usize).prop_map(|(c, to)| Step::Target(c, to)),
        (c.clone(), any::<bool>(), any::<bool>()).prop_map(|(c, tasks, failed)| Step::Restart(c, tasks, failed)),
        (c.clone(), t.clone()).prop_map(|(c, t)| Step::RestartTask(c, t)),
        (0..4_usize).prop_map(Step::Tasks),
        Just(Step::Quiesce),
        c.clone().prop_map(Step::InstanceFails),
        c.clone().prop_map(Step::InstanceTroubled),
        c.clone().prop_map(Step::InstanceChanged),
        (c.clone(), t.clone()).prop_map(|(c, t)| Step::TaskFails(c, t)),
        (c.clone(), t.clone()).prop_map(|(c, t)| Step::TaskAbandoned(c, t)),
        (c, t, 0..40_u64).prop_map(|(c, t, number)| Step::OldNews(c, t, number)),
    ];
    prop::collection::vec(step, 0..60)
}

fn name(index: usize) -> Arc<str> {
    Arc::from(["a", "b"][index])
}

fn id(connector: usize, task: usize) -> TaskId {
    TaskId { connector: name(connector), task }
}

fn put(name: &Arc<str>, mark: &str) -> Event {
    let config = ConfigMap::from([("mark".into(), mark.into())]);
    let plugin = Ok(ConnectorPlugin::Source(&SOURCE));
    Event::Put { name: Arc::clone(name), config, plugin, target: TargetState::Started, tasks: Vec::new() }
}

fn take(world: &mut World, step: Step) {
    match step {
        Step::Put(c, new) => world.apply(put(&name(c), if new { "new" } else { "old" })),
        Step::Delete(c) => world.apply(Event::Delete(name(c))),
        Step::Target(c, to) => {
            let target = [TargetState::Started, TargetState::Paused, TargetState::Stopped][to];
            world.apply(Event::Target(name(c), target));
        }
        Step::Restart(c, tasks, only_failed) => world.apply(Event::Restart { name: name(c), tasks, only_failed }),
        Step::RestartTask(c, t) => world.apply(Event::RestartTask(id(c, t))),
        Step::Tasks(count) => world.tasks_per_plan = count,
        Step::Quiesce => world.quiesce(),
        Step::InstanceFails(c) => {
            if let Some((number, _)) = world.instances.remove(&name(c)) {
                world.instance(&name(c), number, InstanceNews::Failed("no".into()));
            }
        }
        Step::InstanceTroubled(c) => {
            if let Some((number, _)) = world.instances.get(&name(c)).copied() {
                world.instance(&name(c), number, InstanceNews::Troubled("hangs".into()));
            }
        }
        Step::InstanceChanged(c) => {
            if let Some((number, _)) = world.instances.get(&name(c)).copied() {
                world.instance(&name(c), number, InstanceNews::Changed);
            }
        }
        Step::TaskFails(c, t) => {
            if let Some((start, ..)) = world.tasks.remove(&id(c, t)) {
                world.report(&id(c, t), start, TaskNews::Failed { trace: "broke".into() });
            }
        }
        Step::TaskAbandoned(c, t) => {
            if let Some((start, _, true)) = world.tasks.get(&id(c, t)).copied() {
                world.tasks.remove(&id(c, t));
                world.apply(Event::Abandoned(id(c, t), start));
            }
        }
        Step::OldNews(c, t, number) => old_news(world, &id(c, t), number),
    }
}

/// News of a start that is no longer there change nothing.
fn old_news(world: &mut World, id: &TaskId, number: u64) {
    let before = format!("{:?}", world.state);
    if world.tasks.get(id).is_none_or(|run| run.0 != number) {
        world.report(id, number, TaskNews::Running);
        world.report(id, number, TaskNews::Failed { trace: "late".into() });
        world.apply(Event::Abandoned(id.clone(), number));
    }
    if world.instances.get(&id.connector).is_none_or(|instance| instance.0 != number) {
        world.instance(&id.connector, number, InstanceNews::Planned(vec![ConfigMap::new(); 9]));
        world.instance(&id.connector, number, InstanceNews::Gone);
    }
    assert_eq!(format!("{:?}", world.state), before, "old news");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn every_sequence_converges(steps in steps(), tasks in 0..4_usize) {
        let mut world = World { tasks_per_plan: tasks, ..World::default() };
        for step in steps {
            take(&mut world, step);
        }
        world.quiesce();
        world.assert_settled();
        for connector in 0..2 {
            world.apply(Event::Delete(name(connector)));
        }
        world.quiesce();
        prop_assert!(world.state.is_quiet() && world.tasks.is_empty(), "delete leaves nothing running");
    }

    #[test]
    fn closing_stops_everything(steps in steps()) {
        let mut world = World { tasks_per_plan: 2, ..World::default() };
        for step in steps {
            take(&mut world, step);
        }
        world.apply(Event::Close);
        world.quiesce();
        prop_assert!(world.state.is_quiet() && world.instances.is_empty() && world.tasks.is_empty());
    }
}

fn running(tasks: usize) -> World {
    let mut world = World { tasks_per_plan: tasks, ..World::default() };
    world.apply(put(&name(0), "old"));
    world.quiesce();
    world
}

fn task_starts(world: &World) -> Vec<u64> {
    world.tasks.values().map(|run| run.0).collect()
}

#[test]
fn an_unchanged_plan_leaves_tasks_alone_and_a_changed_one_restarts_all() {
    let mut world = running(2);
    let before = task_starts(&world);
    world.apply(Event::Restart { name: name(0), tasks: false, only_failed: false });
    world.quiesce();
    assert_eq!(task_starts(&world), before);
    world.tasks_per_plan = 3;
    let number = world.instances[&name(0)].0;
    world.instance(&name(0), number, InstanceNews::Changed);
    world.quiesce();
    assert!(task_starts(&world).iter().all(|start| !before.contains(start)));
}

#[test]
fn only_failed_restarts_only_what_failed() {
    let mut world = running(2);
    let before = task_starts(&world);
    take(&mut world, Step::TaskFails(0, 1));
    let trace = |world: &World| world.state.get("a").unwrap().tasks[1].status.clone();
    assert_eq!(trace(&world).trace.as_deref(), Some("broke"));
    world.apply(Event::Restart { name: name(0), tasks: true, only_failed: true });
    assert_eq!(trace(&world).condition, Condition::Restarting);
    world.quiesce();
    let after = task_starts(&world);
    assert_eq!(after[0], before[0]);
    assert_ne!(after[1], before[1]);
}

#[test]
fn a_failed_connector_stays_failed_until_restarted() {
    let mut world = running(1);
    take(&mut world, Step::InstanceTroubled(0));
    let condition = |world: &World| world.state.get("a").unwrap().status.condition;
    world.apply(Event::Target(name(0), TargetState::Paused));
    world.apply(Event::Target(name(0), TargetState::Started));
    assert_eq!(condition(&world), Condition::Failed);
    assert_eq!(world.tasks.len(), 1, "its tasks run on");
    take(&mut world, Step::Restart(0, false, true));
    world.quiesce();
    assert_eq!(condition(&world), Condition::Running);
    take(&mut world, Step::InstanceTroubled(0));
    world.apply(Event::Target(name(0), TargetState::Stopped));
    assert_eq!(condition(&world), Condition::Stopped);
}

//! How a life of the herder's world goes, and what is true once the faults have stopped. A part of `herder.rs`.

use super::*;
use crate::sim::in_simulated_time;

impl World {
    /// Every thread does what it was asked to, every queue is emptied, every clock runs out that watches for something.
    async fn come_to_rest(&mut self, run: &mut Run) {
        let mut dice = Dice(run.dice.0);
        for round in 0..2000 {
            self.instance_acts(&mut dice, true);
            self.task_acts(&mut dice, true);
            self.turn(true, run);
            self.turn(false, run);
            let idle = self.inbox.is_empty() && self.reports.is_empty();
            if round % 50 == 49 && idle {
                // Those that nobody stopped are left alone; the others must end.
                let quiet = self.tasks.iter().all(|task| task.shown == Some(task.wish) && task.wish != Wish::Stop)
                    && self.instances.iter().all(|it| it.started && it.plans == 0 && !it.stopping);
                if quiet && self.healing.next().is_none() {
                    return;
                }
                advance(Duration::from_secs(1)).await;
                self.heal(run);
            }
        }
        panic!(
            "the threads never come to rest: next restart {:?} at {:?}, {:?}, {:?}",
            self.healing.next(),
            Instant::now(),
            self.instances,
            self.tasks
        );
    }

    /// What runs is what is wanted, made of what is wanted.
    fn assert_settled(&self) {
        for (name, connector) in self.state.connectors() {
            let own = match connector.target {
                TargetState::Started => Condition::Running,
                TargetState::Paused => Condition::Paused,
                TargetState::Stopped => Condition::Stopped,
            };
            assert_eq!(connector.status.condition, own, "connector {name}");
            let running: Vec<_> = self.instances.iter().filter(|it| it.name == *name).map(|it| &it.config).collect();
            let wanted = if connector.target == TargetState::Started { vec![&*connector.config] } else { Vec::new() };
            assert_eq!(running, wanted, "connector {name} runs what is wanted");
            for (task, wanted) in connector.tasks.iter().enumerate() {
                assert_eq!(wanted.status.condition, own, "task {name}-{task}");
                let of_it = |it: &&TaskThread| it.id.connector == *name && it.id.task == task;
                let running: Vec<_> = self.tasks.iter().filter(of_it).map(|it| &it.config).collect();
                assert_eq!(running, [&*wanted.config], "task {name}-{task} runs what is wanted");
            }
            if connector.target == TargetState::Started {
                assert_eq!(connector.tasks.len() as u64, number(&connector.config, "tasks"), "tasks of {name}");
                let generation =
                    |task: &crate::herder::state::Task| task.config["of"] == connector.config["generation"];
                assert!(connector.tasks.iter().all(generation), "tasks of {name} are of the last plan");
            }
        }
        let known = |id: &TaskId| self.state.task(id).is_some();
        assert!(self.tasks.iter().all(|task| known(&task.id)), "a task that nobody wants runs on");
    }
}

pub(super) fn world(run: &mut Run) {
    in_simulated_time(live(run));
}

async fn live(run: &mut Run) {
    let mut world = World { moody: [6, 50][run.dice.index(2)], ..World::new() };
    while let Some(mut dice) = run.step() {
        advance(Duration::from_millis(dice.below(2_000))).await;
        world.heal(run);
        match dice.below(100) {
            0..=14 => world.request(&mut dice, run),
            15..=34 => world.instance_acts(&mut dice, false),
            35..=54 => world.task_acts(&mut dice, false),
            55..=64 => world.clock_runs_out(&mut dice),
            65..=80 => world.turn(true, run),
            81..=97 => world.turn(false, run),
            _ if dice.percent(30) => world.crash(run),
            _ => world.turn(false, run),
        }
    }
    // Faults stop, and somebody restarts what has failed.
    run.note(|| "the faults stop".into());
    world.store_is_full = false;
    world.instances.retain(|instance| !instance.left);
    world.come_to_rest(run).await;
    for name in NAMES {
        world.apply(Event::Restart { name: name.into(), tasks: true, only_failed: true }, run);
    }
    world.come_to_rest(run).await;
    world.assert_settled();
    let name: Arc<str> = NAMES[0].into();
    world.stored.remove(&name);
    world.apply(Event::Delete(name), run);
    world.apply(Event::Close, run);
    while !world.state.is_quiet() {
        assert!(!(world.tasks.is_empty() && world.instances.is_empty()), "closing waits for nobody");
        world.come_to_rest(run).await;
    }
}

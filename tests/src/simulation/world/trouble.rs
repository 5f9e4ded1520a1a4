//! What befalls a morning: ends of the machine, clocks that are off, stations that crash; and the calm after it.

use super::super::disk::{Deed, End};
use super::super::ground::{BEGIN, STATIONS};
use super::super::line::{Intent, Kind, Stage};
use super::{Event, HOUR, World};
use crate::failure::{Failure, Outcome};

/// What goes wrong.
impl World<'_> {
    pub(super) fn trouble(&mut self) -> Outcome<()> {
        if self.is_calm {
            return Ok(());
        }
        match self.chance.below(12) {
            0 | 1 if self.machine.corridor().is_some() => {
                self.machine.begin_step()?;
                let how = self.some_end();
                self.end(how, "between two steps")
            }
            2..=6 => {
                let call = 1 + self.chance.below(24);
                let how = self.some_end();
                let deed = match self.chance.below(6) {
                    0 => Deed::Tear,
                    1 | 2 => Deed::Before(how),
                    3 => Deed::After(how),
                    4 => Deed::Fail,
                    _ => Deed::Full,
                };
                self.tell(format_args!("{deed:?} is to hit call {call} from now"));
                self.machine.disk.plan(call, deed);
                Ok(())
            }
            7 => {
                let once_in = self.chance.below(4);
                self.machine.let_hsm_fail(once_in);
                self.tell(format_args!("the HSM fails once in {once_in}"));
                Ok(())
            }
            8 => self.machine.flush(),
            9 => self.set_clock_off(),
            _ => self.crash_a_station(),
        }
    }

    pub(super) fn some_end(&mut self) -> End {
        match self.chance.one_in(3) {
            true => End::Kill,
            false => End::PowerCut,
        }
    }

    pub(super) fn set_clock_off(&mut self) -> Outcome<()> {
        let hours = self.chance.below(72) * HOUR;
        let hours = i64::try_from(hours).map_err(Failure::new)?;
        self.off = if self.chance.one_in(2) { hours } else { -hours };
        self.counts.clock_jumps += 1;
        let off = self.off;
        self.tell(format_args!("the server's clock is {off} ms off"));
        let delay = 1000 + self.chance.below(8000);
        self.after(delay, Event::SetClock);
        Ok(())
    }

    pub(super) fn mend_clock(&mut self) -> Outcome<()> {
        self.off = 0;
        self.set_clock();
        let watch = identity::Timestamp(BEGIN + self.now);
        if let Some(corridor) = self.machine.corridor() {
            // On a disk that fails just now the operator comes again.
            if corridor.confirm_clock(watch).is_err() {
                self.after(1000, Event::SetClock);
            }
            if let Some(how) = self.machine.disk.over() {
                return self.end(how, "while an operator confirmed the clock");
            }
        } else {
            self.after(1000, Event::SetClock);
        }
        Ok(())
    }

    /// A station loses what it had not journalled: that it waits, and sometimes an answer that it had.
    pub(super) fn crash_a_station(&mut self) -> Outcome<()> {
        let station = self.chance.place(STATIONS.len());
        self.counts.station_crashes += 1;
        self.lives[station] += 1;
        self.tell(format_args!("station {station} crashes"));
        for number in 0..self.works.len() {
            if self.works[number].station != station || self.works[number].sealed.is_none() {
                continue;
            }
            for at in 0..self.works[number].pieces.len() {
                let forgets = self.chance.one_in(3);
                let piece = &mut self.works[number].pieces[at];
                if forgets
                    && matches!(piece.stage, Stage::Given(_))
                    && piece.intent != Intent::Leave
                {
                    (piece.stage, piece.owed) = (Stage::Asking, [None, None]);
                }
                self.again_later(number, Kind::Confirm(at));
                self.again_later(number, Kind::Void(at));
            }
            self.again_later(number, Kind::Provision);
        }
        Ok(())
    }

    pub(super) fn again_later(&mut self, number: usize, kind: Kind) {
        let life = self.lives[self.works[number].station];
        let delay = 500 + self.chance.below(2000);
        self.after(delay, Event::Again(number, kind, life));
    }

    pub(super) fn calm(&mut self) -> Outcome<()> {
        self.is_calm = true;
        self.machine.disk.unplan();
        self.machine.let_hsm_fail(0);
        self.tell(format_args!("no more trouble"));
        self.mend_clock()?;
        self.start()
    }
}

//! The glue of `df-peer`'s `words`: who is asked which pieces it has, what a whole piece is held against, and who lied.

use std::time::Duration;

use df_api::Digest;
use df_api::scheduler::ComplaintReason;
use df_peer::decisions::{
    ASKED_TO_DESCRIBE, Found, HOLD, Key, Linked as _, Others, PROBE, REST, SECOND_VOICE, Testimony, is_involved,
    is_repeated, liars, refuted,
};

use crate::events::{Event, PartId, Question};
use crate::part::{Advice, Open, Phase};
use crate::world::World;

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

// === impl World ===

impl World {
    // --- questions ---

    /// Asks whoever has to say something before this can go on.
    pub fn ask_around(&mut self, p: PartId) {
        let part = &self.parts[p];
        let mut wanted: Vec<Key> = Vec::new();
        if !part.described {
            wanted.extend(part.links.all().take(ASKED_TO_DESCRIBE).map(|link| link.key));
        }
        for (piece, work) in &part.works {
            if let Some(since_ms) = work.whole_ms {
                let waited = Duration::from_millis(self.now_ms - since_ms);
                wanted.extend(part.links.who_could_vouch(*piece, &work.senders, waited));
            }
        }
        for testimony in &part.testimonies {
            wanted.extend(part.links.all().filter(|link| !link.has_told(testimony.piece)).map(|link| link.key));
        }
        wanted.sort_unstable();
        wanted.dedup();
        for key in wanted {
            if self.parts[p].rests.get(&key).is_none_or(|until_ms| *until_ms <= self.now_ms) {
                self.question(p, key, false);
            }
        }
    }

    /// One of each kind at a parent.
    pub fn question(&mut self, p: PartId, key: Key, probe: bool) {
        let (serial, asked_ms) = (self.serial, self.now_ms);
        let part = &mut self.parts[p];
        let Some(link) = part.links.get(key) else { return };
        if part.questions.iter().any(|open| open.key == key && open.probe == probe) {
            return;
        }
        self.serial += 1;
        part.counts.lists += 1;
        let until_ms = if probe { 0 } else { asked_ms + ms(HOLD) };
        let question = Question { asker: p, asked: link.part, key, probe, since: link.next.get(), serial, until_ms };
        part.questions.push(Open { key, probe, serial, asked_ms });
        self.events.plan(self.soon_ms(), Event::ListAsked(question));
    }

    pub fn list_asked(&mut self, question: Question) {
        if self.host_of(question.asked).manner.dead {
            return;
        }
        let asked = &mut self.parts[question.asked];
        let next = asked.events();
        if next > question.since || question.until_ms <= self.now_ms || asked.is_whole() {
            self.events.plan(self.soon_ms(), Event::ListTold(question, next));
        } else {
            asked.listeners.push(question);
        }
    }

    /// There is news of pieces.
    pub fn tell_listeners(&mut self, p: PartId) {
        let (next, at_ms) = (self.parts[p].events(), self.soon_ms());
        for question in std::mem::take(&mut self.parts[p].listeners) {
            self.events.plan(at_ms, Event::ListTold(question, next));
        }
    }

    /// Those who have waited long enough are told that there is nothing new, and whoever does not answer is gone.
    pub fn expire_questions(&mut self, p: PartId) {
        let (now_ms, at_ms) = (self.now_ms, self.soon_ms());
        let next = self.parts[p].events();
        let (late, waiting) = std::mem::take(&mut self.parts[p].listeners)
            .into_iter()
            .partition(|question: &Question| question.until_ms <= now_ms);
        self.parts[p].listeners = waiting;
        let late: Vec<Question> = late;
        for question in late {
            self.events.plan(at_ms, Event::ListTold(question, next));
        }
        let limit_ms = |open: &Open| if open.probe { ms(PROBE) } else { 2 * ms(HOLD) };
        let silent = self.parts[p].questions.iter().filter(|open| now_ms - open.asked_ms > limit_ms(open));
        let silent: Vec<Open> = silent.copied().collect();
        for open in silent {
            self.parts[p].questions.retain(|one| one.serial != open.serial);
            self.complain(p, open.key, ComplaintReason::Gone);
        }
    }

    pub fn list_told(&mut self, question: Question, next: u64) {
        let Question { asker, asked, key, probe, since, serial, .. } = question;
        let known = self.parts[asker].questions.len();
        self.parts[asker].questions.retain(|open| open.serial != serial);
        if self.parts[asker].questions.len() == known || self.parts[asker].phase != Phase::Swarm {
            return;
        }
        let first = since.saturating_sub(1) as usize;
        let news = self.parts[asked].log.get(first..next.saturating_sub(1) as usize).unwrap_or_default();
        let Some(link) = self.parts[asker].links.get(key) else { return };
        news.iter().for_each(|piece| link.told.borrow_mut().set(*piece));
        link.next.set(link.next.get().max(next));
        let nothing = news.is_empty();
        if nothing && !probe {
            let until_ms = self.now_ms + ms(REST);
            self.parts[asker].rests.insert(key, until_ms);
        }
        if next > 0 && !self.parts[asker].described {
            self.describe(asker, key);
        }
        self.stir(asker);
    }

    fn describe(&mut self, p: PartId, key: Key) {
        let now_ms = self.now_ms;
        let part = &mut self.parts[p];
        part.said.retain(|one| *one != key);
        part.said.push(key);
        part.said_since_ms.get_or_insert(now_ms);
        self.agree(p);
    }

    /// Nobody lies about the length here; so this is only when a word is enough.
    pub fn agree(&mut self, p: PartId) {
        let part = &mut self.parts[p];
        part.said.retain(|key| part.links.get(*key).is_some());
        let Some(since_ms) = part.said_since_ms.filter(|_| !part.said.is_empty() && !part.described) else { return };
        let known = matches!(&part.sync.advice, Advice::Decided(decision) if decision.task.length.is_some());
        let seed = part.said.iter().any(|key| part.links.get(*key).is_some_and(|link| link.parent.seed));
        let asked = part.links.all().count().min(ASKED_TO_DESCRIBE);
        let heard_all = part.said.len() >= asked || self.now_ms - since_ms > ms(SECOND_VOICE);
        if known || seed || part.said.len() > 1 || heard_all {
            part.described = true;
            self.tell_listeners(p);
            self.stir(p);
        }
    }

    // --- words ---

    /// Marks what is whole and vouched for, and finds out who lied.
    pub fn judge(&mut self, p: PartId) {
        let (now_ms, piece_bytes) = (self.now_ms, self.scenario.piece_bytes);
        let part = &mut self.parts[p];
        for (piece, work) in &mut part.works {
            if work.whole_ms.is_none() && part.slots[*piece as usize].landed == piece_bytes {
                work.whole_ms = Some(now_ms);
            }
        }
        let whole = part.works.iter().filter_map(|(piece, work)| Some((*piece, work.whole_ms?)));
        let whole: Vec<(u32, u64)> = whole.collect();
        for (piece, since_ms) in whole {
            let part = &mut self.parts[p];
            let Some(work) = part.works.get(&piece) else { continue };
            let waited = Duration::from_millis(now_ms - since_ms);
            let Some((witness, told)) = part.links.word(piece, &work.senders, waited) else { continue };
            let found = self.digests.of(piece, part.taint[piece as usize]);
            let Some(work) = part.works.remove(&piece) else { continue };
            if found == told {
                self.mark(p, piece);
                self.settle(p, piece, &found);
                continue;
            }
            (part.slots[piece as usize].landed, part.taint[piece as usize]) = (0, 0);
            match work.senders[..] {
                [sender] => {
                    let checked = !work.unchecked;
                    self.dispute(p, Testimony { piece, sender, checked, found, witness, told });
                }
                _ => drop(part.from_one.insert(piece)),
            }
        }
        self.convict(p);
    }

    /// It is checked, and told of.
    pub fn mark(&mut self, p: PartId, piece: u32) {
        let part = &mut self.parts[p];
        part.marked.set(piece);
        part.log.push(piece);
        part.counts.wrong_marks += u32::from(part.taint[piece as usize] != 0);
        self.tell_listeners(p);
        // Whoever wanted it checked gets it now.
        self.wake_requests(p, piece);
    }

    fn dispute(&mut self, p: PartId, testimony: Testimony) {
        let part = &mut self.parts[p];
        if let Some(link) = part.links.get(testimony.sender).filter(|_| !testimony.checked) {
            link.must_check.set(true);
        }
        part.testimonies.push(testimony);
    }

    fn convict(&mut self, p: PartId) {
        let part = &self.parts[p];
        let mut disputed: Vec<u32> = part.testimonies.iter().map(|testimony| testimony.piece).collect();
        disputed.sort_unstable();
        disputed.dedup();
        let seeds: Vec<Key> = part.links.all().filter(|link| link.parent.seed).map(|link| link.key).collect();
        for piece in disputed {
            let part = &self.parts[p];
            let of_piece = self.testimonies_of(p, piece);
            let told_by: Vec<(Key, Digest)> =
                part.links.all().filter_map(|link| Some((link.key, link.told(piece)?))).collect();
            let silent = part.links.all().all(|link| is_involved(&of_piece, link.key)) || is_repeated(&of_piece);
            let others = if silent { Others::Silent { seeds: &seeds } } else { Others::MaySpeak };
            let Found { liars, doubted } = liars(&of_piece, &told_by, others);
            self.blame(p, &liars);
            for key in doubted {
                self.complain(p, key, ComplaintReason::Gone);
            }
        }
    }

    fn settle(&mut self, p: PartId, piece: u32, marked: &Digest) {
        self.parts[p].from_one.remove(&piece);
        if self.parts[p].testimonies.is_empty() {
            return;
        }
        let of_piece = self.testimonies_of(p, piece);
        self.parts[p].testimonies.retain(|testimony| testimony.piece != piece);
        self.blame(p, &refuted(&of_piece, marked));
    }

    fn testimonies_of(&self, p: PartId, piece: u32) -> Vec<Testimony> {
        self.parts[p].testimonies.iter().filter(|testimony| testimony.piece == piece).cloned().collect()
    }

    fn blame(&mut self, p: PartId, liars: &[Key]) {
        for key in liars {
            self.complain(p, *key, ComplaintReason::WrongBytes);
            self.parts[p].testimonies.retain(|testimony| testimony.witness != *key);
        }
    }
}

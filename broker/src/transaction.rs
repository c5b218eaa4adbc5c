//! The rules of transactions, without state of their own: who may do what with a transactional id, and what comes next.
//!
//! `crate::coordinator` asks, and carries the answers out; what is known about an id is in `crate::storage::transactions`.
//!
//! Idle → Open (first partition or offset) → Ending (decided) → Ended (markers written) → Open …
//! A new producer of the id comes with a higher epoch: whoever has the old one is fenced.

use kafka_protocol::ResponseError;

use crate::storage::marker::Outcome;
use crate::storage::transactions::{Identity, State, Transaction, Work};

/// From this epoch on a new producer gets a new producer id. One higher is left for fencing the last owner.
const LAST_EPOCH: i16 = i16::MAX - 1;

/// What has to happen for a producer that wants to take a transactional id.
#[derive(Debug, PartialEq)]
pub(crate) enum Start {
    /// A new producer id, from epoch 0 on.
    NewId { before: Option<Identity> },
    /// This one.
    Owner { owner: Identity, before: Option<Identity> },
    /// What it has already been told; nothing changes.
    Again(Identity),
    /// First the open transaction has to be aborted, with this epoch; then ask again.
    Abort { epoch: i16 },
    /// First the transaction that is ending has to end; then ask again.
    Wait,
}

/// `claims` is what the producer says it is, if it wants to go on as a producer it already is.
pub(crate) fn start(transaction: Option<&Transaction>, claims: Option<Identity>) -> Result<Start, ResponseError> {
    let Some(Transaction { owner, before, state, .. }) = transaction else {
        return Ok(Start::NewId { before: None });
    };
    let is_owner = claims == Some(*owner);
    if claims.is_some() && !is_owner {
        // The answer to the owner's own request for a new epoch was lost.
        let asked_again = claims == *before;
        return if asked_again { Ok(Start::Again(*owner)) } else { Err(ResponseError::ProducerFenced) };
    }
    Ok(match state {
        State::Open(_) if is_owner => Start::Abort { epoch: owner.epoch },
        State::Open(_) => Start::Abort { epoch: fencing_epoch(*owner) },
        State::Ending(..) => Start::Wait,
        State::Idle | State::Ended(_) if owner.epoch >= LAST_EPOCH => Start::NewId { before: claims },
        State::Idle | State::Ended(_) => {
            Start::Owner { owner: Identity { epoch: owner.epoch + 1, ..*owner }, before: claims }
        }
    })
}

/// Higher than what the owner has, so that it can do nothing more.
pub(crate) fn fencing_epoch(owner: Identity) -> i16 {
    owner.epoch.saturating_add(1)
}

/// Whether the caller is the id's present producer.
pub(crate) fn check_owner(transaction: Option<&Transaction>, who: Identity) -> Result<&Transaction, ResponseError> {
    let Some(transaction) = transaction.filter(|known| known.owner.producer_id == who.producer_id) else {
        return Err(ResponseError::InvalidProducerIdMapping);
    };
    if transaction.owner.epoch == who.epoch { Ok(transaction) } else { Err(ResponseError::ProducerFenced) }
}

/// Whether the producer may begin its transaction or reach further with it; gives what it has touched so far.
pub(crate) fn may_grow(transaction: Option<&Transaction>, who: Identity) -> Result<Option<&Work>, ResponseError> {
    let transaction = check_owner(transaction, who)?;
    match &transaction.state {
        State::Ending(..) => Err(ResponseError::ConcurrentTransactions),
        State::Open(work) => Ok(Some(work)),
        State::Idle | State::Ended(_) => Ok(None),
    }
}

/// Whether the producer is in the middle of a transaction; gives what it has touched so far.
pub(crate) fn must_be_open(transaction: Option<&Transaction>, who: Identity) -> Result<&Work, ResponseError> {
    match &check_owner(transaction, who)?.state {
        State::Open(work) => Ok(work),
        State::Idle | State::Ending(..) | State::Ended(_) => Err(ResponseError::InvalidTxnState),
    }
}

/// What has to happen for a producer that wants to end its transaction.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    Decide,
    /// It is decided already, just so.
    Wait,
    /// It has ended already, just so.
    Done,
}

pub(crate) fn end(transaction: Option<&Transaction>, who: Identity, wanted: Outcome) -> Result<End, ResponseError> {
    match &check_owner(transaction, who)?.state {
        State::Open(_) => Ok(End::Decide),
        State::Ending(_, outcome) if *outcome == wanted => Ok(End::Wait),
        State::Ended(outcome) if *outcome == wanted => Ok(End::Done),
        State::Idle | State::Ending(..) | State::Ended(_) => Err(ResponseError::InvalidTxnState),
    }
}

/// Whether an open transaction has taken longer than its producer said it would.
pub(crate) fn is_overdue(transaction: &Transaction, now_ms: i64) -> bool {
    match &transaction.state {
        State::Open(work) => now_ms - work.since_ms >= i64::from(transaction.timeout_ms),
        State::Idle | State::Ending(..) | State::Ended(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Identity = Identity { producer_id: 7, epoch: 3 };

    fn known(owner: Identity, state: State) -> Transaction {
        Transaction { owner, before: None, timeout_ms: 1_000, used_ms: 0, state }
    }

    fn states() -> [State; 4] {
        let work = Work { since_ms: 500, ..Work::default() };
        let ending = State::Ending(work.clone(), Outcome::Committed);
        [State::Idle, State::Open(work), ending, State::Ended(Outcome::Committed)]
    }

    fn epoch(epoch: i16) -> Identity {
        Identity { epoch, ..OWNER }
    }

    #[test]
    fn a_new_producer_gets_the_next_epoch_once_nothing_is_open() {
        let next = |epoch: i16| Ok(Start::Owner { owner: self::epoch(epoch), before: None });
        let expected = [next(4), Ok(Start::Abort { epoch: 4 }), Ok(Start::Wait), next(4)];
        assert_eq!(states().map(|state| start(Some(&known(OWNER, state)), None)), expected);
        assert_eq!(start(None, None), Ok(Start::NewId { before: None }));
    }

    #[test]
    fn a_producer_that_asks_for_a_new_epoch_is_told_the_same_again_and_others_are_fenced() {
        let mut transaction = known(OWNER, State::Ended(Outcome::Aborted));
        let bumped = Start::Owner { owner: epoch(4), before: Some(OWNER) };
        assert_eq!(start(Some(&transaction), Some(OWNER)), Ok(bumped));
        (transaction.owner, transaction.before) = (epoch(4), Some(OWNER));
        assert_eq!(start(Some(&transaction), Some(OWNER)), Ok(Start::Again(epoch(4))));
        assert_eq!(start(Some(&transaction), Some(epoch(2))), Err(ResponseError::ProducerFenced));
        // A fenced producer must not abort what its successor has open.
        transaction.state = State::Open(Work::default());
        transaction.before = None;
        assert_eq!(start(Some(&transaction), Some(OWNER)), Err(ResponseError::ProducerFenced));
        assert_eq!(start(Some(&transaction), Some(epoch(4))), Ok(Start::Abort { epoch: 4 }));
    }

    #[test]
    fn the_last_epoch_is_followed_by_a_new_producer_id() {
        let last = epoch(i16::MAX - 1);
        assert_eq!(start(Some(&known(last, State::Idle)), None), Ok(Start::NewId { before: None }));
        assert_eq!(start(Some(&known(last, State::Idle)), Some(last)), Ok(Start::NewId { before: Some(last) }));
        let open = known(last, State::Open(Work::default()));
        assert_eq!(start(Some(&open), None), Ok(Start::Abort { epoch: i16::MAX }));
        let fenced = known(epoch(i16::MAX), State::Ended(Outcome::Aborted));
        assert_eq!(start(Some(&fenced), None), Ok(Start::NewId { before: None }));
    }

    #[test]
    fn only_the_owner_may_do_anything() {
        for state in states() {
            let transaction = known(OWNER, state);
            for (who, expected) in [
                (epoch(2), ResponseError::ProducerFenced),
                (epoch(4), ResponseError::ProducerFenced),
                (Identity { producer_id: 8, ..OWNER }, ResponseError::InvalidProducerIdMapping),
            ] {
                assert_eq!(may_grow(Some(&transaction), who).unwrap_err(), expected);
                assert_eq!(must_be_open(Some(&transaction), who).unwrap_err(), expected);
                assert_eq!(end(Some(&transaction), who, Outcome::Aborted).unwrap_err(), expected);
            }
        }
        assert_eq!(may_grow(None, OWNER).unwrap_err(), ResponseError::InvalidProducerIdMapping);
    }

    #[test]
    fn a_transaction_ends_once_and_only_one_way() {
        let answers = |wanted| states().map(|state| end(Some(&known(OWNER, state)), OWNER, wanted));
        let invalid = || Err(ResponseError::InvalidTxnState);
        assert_eq!(answers(Outcome::Committed), [invalid(), Ok(End::Decide), Ok(End::Wait), Ok(End::Done)]);
        assert_eq!(answers(Outcome::Aborted), [invalid(), Ok(End::Decide), invalid(), invalid()]);
    }

    #[test]
    fn what_ends_cannot_grow_and_only_what_is_open_takes_records() {
        let grows = states().map(|state| may_grow(Some(&known(OWNER, state)), OWNER).map(|work| work.is_some()));
        assert_eq!(grows, [Ok(false), Ok(true), Err(ResponseError::ConcurrentTransactions), Ok(false)]);
        let takes = states().map(|state| must_be_open(Some(&known(OWNER, state)), OWNER).is_ok());
        assert_eq!(takes, [false, true, false, false]);
    }

    #[test]
    fn only_an_open_transaction_is_overdue() {
        let overdue = |now| states().map(|state| is_overdue(&known(OWNER, state), now));
        assert_eq!(overdue(1_499), [false; 4]);
        assert_eq!(overdue(1_500), [false, true, false, false]);
    }
}

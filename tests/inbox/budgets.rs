//! What counts against which limit, and comes back.

use super::*;

#[test]
fn five_thousand_records_are_exactly_five_thousand_messages() {
    let inbox = Client::new().inbox(Policy::DropOldest, 64 << 20, 5000);
    assert!(push_hundreds(&inbox, 0..5000).iter().all(|pushed| pushed.dropped == 0));
    assert_eq!(inbox.push(&hundred(5000)).dropped, 1);
    let all = drain(&inbox);
    assert_eq!(all[0], (DROPPED, 1));
    assert!(all[1..].iter().copied().eq((1..=5000).map(|number| (MESSAGE, number))));
}

#[test]
fn lent_blocks_count_until_they_are_given_back() {
    let client = Client::new();
    let inbox = client.inbox(Policy::DropNewest, 300, 0);
    push_hundreds(&inbox, 0..2);
    let lent = inbox.take(POLL).unwrap();
    assert_eq!((inbox.counters().bytes, client.budget.used()), (200, 200));
    let dropped: u64 = push_hundreds(&inbox, 2..5).iter().map(|pushed| pushed.dropped).sum();
    assert_eq!(dropped, 2);
    drop(lent);
    assert_eq!(client.budget.used() as u64, inbox.counters().bytes);
    assert_eq!(drain(&inbox), [(MESSAGE, 2), (DROPPED, 2)]);
    assert_eq!(client.budget.used(), 0);
}

#[test]
fn lent_messages_count_for_the_limit_of_records_too() {
    let inbox = Client::new().inbox(Policy::DropNewest, 1 << 20, 2);
    push_hundreds(&inbox, 0..1);
    let lent = inbox.take(POLL).unwrap();
    push_hundreds(&inbox, 1..4);
    drop(lent);
    assert_eq!(drain(&inbox), [(MESSAGE, 1), (DROPPED, 2)]);
}

#[test]
fn an_empty_inbox_accepts_any_one_record_with_every_policy() {
    for policy in [Policy::DropOldest, Policy::DropNewest, Policy::Close, Policy::Pause] {
        let inbox = Client::with_budget(50).inbox(policy, 100, 0);
        let pushed = inbox.push(&message(1, &[0; 5000]));
        assert_eq!((pushed.dropped, pushed.overflow), (0, false));
        let lent = inbox.take(POLL).unwrap();
        assert_eq!(lent.records()[0].payload(lent.data()).len(), 5000);
    }
}

#[test]
fn the_budget_of_the_client_is_over_all_its_inboxes_and_the_receiving_one_pays() {
    let client = Client::with_budget(500);
    let (a, b) = (client.inbox(Policy::DropOldest, 1000, 0), client.inbox(Policy::DropNewest, 1000, 0));
    push_hundreds(&a, 0..4);
    let dropped = push_hundreds(&b, 0..3).iter().map(|pushed| pushed.dropped).collect::<Vec<_>>();
    assert_eq!(dropped, [0, 1, 1]);
    assert_eq!(drain(&b), [(MESSAGE, 0), (DROPPED, 2)]);
    assert_eq!(drain(&a).len(), 4);
    assert_eq!(client.budget.used(), 0);
}

#[test]
fn a_wave_counts_its_own_messages_in_the_budget_of_the_client() {
    let client = Client::with_budget(500);
    let (a, b) = (client.inbox(Policy::DropNewest, 10_000, 0), client.inbox(Policy::DropNewest, 10_000, 0));
    push_hundreds(&a, 0..2);
    let record = |number| Record { kind: MESSAGE, number, data_len: 36, ..Record::default() };
    let mut records: Vec<_> = (0..10).map(record).collect();
    let pushed = b.push_wave(&mut records, 0, Wave::Bytes(&[0; 36]));
    assert_eq!(pushed.dropped, 7);
    assert_eq!(drain(&b), [(MESSAGE, 0), (MESSAGE, 1), (MESSAGE, 2), (DROPPED, 7)]);
}

#[test]
fn after_a_burst_every_byte_is_back() {
    let client = Client::with_budget(300_000);
    let inbox = client.inbox(Policy::DropOldest, 200_000, 0);
    push_hundreds(&inbox, 0..10_000);
    inbox.push(&message(1, &[0; 250_000]));
    assert!(inbox.counters().peak >= 200_000);
    let blocks: Vec<_> = std::iter::from_fn(|| inbox.take(POLL).ok()).collect();
    assert!(client.budget.used() > 0);
    drop(blocks);
    let counters = inbox.counters();
    assert_eq!((client.budget.used(), counters.bytes, counters.waiting), (0, 0, 0));
    assert_eq!(counters.received, 10_001);
    assert_eq!(counters.received, counters.dropped + 1);
}

#[test]
fn a_pool_keeps_few_buffers_and_forgets_them_when_asked() {
    use redmux::inbox::{Buffer, BufferPool};
    let pool = Arc::new(BufferPool::default());
    let addresses = |buffers: &[Arc<Buffer>]| buffers.iter().map(|b| b.bytes().as_ptr()).collect::<Vec<_>>();
    let buffers: Vec<_> = (0..50).map(|_| BufferPool::get(&pool)).collect();
    let first = addresses(&buffers);
    drop(buffers);
    let again = addresses(&[BufferPool::get(&pool)]);
    assert!(first.contains(&again[0]), "used again");
    pool.clear();
    assert_eq!(Arc::strong_count(&pool), 1, "no buffer holds it");
}

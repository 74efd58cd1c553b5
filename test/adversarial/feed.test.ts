/** The change feed against everything that puts commits and ids out of step. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as checkpoints from "../../src/internal/feed/checkpoint.js"
import type * as Query from "../../src/Query.js"
import { connect, drain } from "../support/feed.js"
import { attacks, type Host, type Session } from "../support/adversarial.js"
import { runs } from "../support/runs.js"

const hostTables = `
  create table items (id int primary key, v int not null);
  create table others (id int primary key, v int not null)`

type Command =
  | { readonly do: "write"; readonly session: number; readonly table: "items" | "others"; readonly row: number }
  | { readonly do: "savepoint" | "rollback to" | "commit" | "rollback" | "context" | "burn"; readonly session: number }
  | { readonly do: "read"; readonly limit: number }

const ends = ["savepoint", "rollback to", "commit", "commit", "rollback", "context", "burn"] as const

const session = FastCheck.integer({ min: 0, max: 3 })

const command: FastCheck.Arbitrary<Command> = FastCheck.oneof(
  {
    weight: 8,
    arbitrary: FastCheck.record({
      do: FastCheck.constant("write" as const),
      session,
      table: FastCheck.constantFrom("items" as const, "others" as const),
      row: FastCheck.integer({ min: 1, max: 6 })
    })
  },
  {
    weight: 5,
    arbitrary: FastCheck.record({
      do: FastCheck.constantFrom(...ends),
      session
    })
  },
  {
    weight: 4,
    arbitrary: FastCheck.record({
      do: FastCheck.constant("read" as const),
      limit: FastCheck.integer({ min: 1, max: 4 })
    })
  }
)

/** What one session has open: rows that it holds, and how many savepoints. */
interface Open {
  begun: boolean
  savepoints: number
}

interface Delivered {
  readonly id: string
  readonly row: string
  readonly transaction: string
}

const delivered = (change: Query.Change): Delivered => ({
  id: change.id,
  row: `${change.tableName} ${change.rowKey ?? ""}`,
  transaction: change.transactionId
})

const run = Effect.fnUntraced(function* (
  host: Host,
  sessions: ReadonlyArray<Session>,
  feed: Effect.Effect.Success<ReturnType<typeof connect>>,
  commands: ReadonlyArray<Command>
) {
  const open: Array<Open> = sessions.map(() => ({ begun: false, savepoints: 0 }))
  const holder = new Map<string, number>()
  const seen: Array<Delivered> = []
  const seenOfItems: Array<Delivered> = []
  let checkpoint: string | undefined = (yield* feed.read({ from: "now" })).checkpoint
  let ofItems: string | undefined = (yield* feed.read({ from: "now", tables: ["items"] })).checkpoint
  let counter = 0
  yield* host.db.run("delete from threadline.feed_checkpoints")

  const read = Effect.fnUntraced(function* (limit: number) {
    const batch = yield* feed.read({ checkpoint, limit })
    checkpoint = batch.checkpoint
    expect(batch.changes.length).toBeLessThanOrEqual(limit)
    seen.push(...batch.changes.map(delivered))
    const filtered = yield* feed.read({ checkpoint: ofItems, tables: ["items"], limit })
    ofItems = filtered.checkpoint
    seenOfItems.push(...filtered.changes.map(delivered))
    return batch.caughtUp && filtered.caughtUp
  })
  // A consumer that gives up again and again: what it still needs is what retention must leave, no more and no less.
  const consume = Effect.fnUntraced(function* (limit: number) {
    let batches = 0
    yield* Effect.either(
      feed.consume("consumer", () => Effect.suspend(() => (++batches > 1 ? Effect.fail("stop") : Effect.void)), {
        from: "now",
        limit
      })
    )
    const [stored] = yield* host.db.rows(
      "select c.checkpoint, p.change_id as id from threadline.feed_checkpoints c left join threadline.feed_pending() p using (name)"
    )
    const position = Either.getOrThrow(checkpoints.decode([], stored?.["checkpoint"] ?? ""))
    const left = yield* drain(feed, { checkpoint: stored?.["checkpoint"] ?? "" })
    const oldest = left.ids.length === 0 ? null : Math.min(...left.ids.map(Number))
    const held = stored?.["id"] ?? null
    const pending = held === null ? null : Number(held)
    if (position.window === undefined) {
      expect(pending).toBe(oldest)
    } else {
      expect(pending).toBeLessThanOrEqual(oldest ?? Number.POSITIVE_INFINITY)
      expect(pending).toBe(Math.min(Number(position.window.last) + 1, oldest ?? Number.POSITIVE_INFINITY))
    }
  })
  const end = Effect.fnUntraced(function* (index: number, how: string) {
    const state = open[index]
    const db = sessions[index]
    if (state?.begun === true && db !== undefined) {
      yield* db.run(how)
      open[index] = { begun: false, savepoints: 0 }
      for (const [row, by] of holder) {
        if (by === index) {
          holder.delete(row)
        }
      }
    }
  })

  for (const command of commands) {
    if (command.do === "read") {
      yield* read(command.limit)
      yield* consume(command.limit)
      continue
    }
    const db = sessions[command.session]
    const state = open[command.session]
    if (db === undefined || state === undefined) {
      continue
    }
    switch (command.do) {
      case "write": {
        const row = `${command.table} ${command.row}`
        if ((holder.get(row) ?? command.session) !== command.session) {
          break
        }
        if (!state.begun) {
          yield* db.run("begin")
          state.begun = true
        }
        holder.set(row, command.session)
        yield* db.run(
          `insert into ${command.table} values (${command.row}, ${++counter}) on conflict (id) do update set v = excluded.v`
        )
        break
      }
      case "burn":
        // A transaction id, long before the first change.
        if (!state.begun) {
          yield* db.run("begin; select pg_current_xact_id()")
          state.begun = true
        }
        break
      case "context":
        if (state.begun) {
          yield* db.run(`select threadline.set_context('{"actor":{"type":"user","id":"${++counter}"}}')`)
        }
        break
      case "savepoint":
        if (state.begun) {
          yield* db.run("savepoint s")
          state.savepoints++
        }
        break
      case "rollback to":
        if (state.savepoints > 0) {
          yield* db.run("rollback to s")
        }
        break
      default:
        yield* end(command.session, command.do)
    }
  }
  for (const index of sessions.keys()) {
    yield* end(index, "commit")
    yield* read(2)
  }
  while (!(yield* read(3))) {
    // Until both feeds are caught up.
  }

  for (const [found, table] of [
    [seen, undefined],
    [seenOfItems, "items"]
  ] as const) {
    const committed = yield* host.db.column(
      `select id from threadline.audit_changes where ${table === undefined ? "true" : `table_name = '${table}'`} order by id`
    )
    expect(found.map(({ id }) => id).sort((a, b) => Number(a) - Number(b))).toEqual(committed)
    for (const of of ["row", "transaction"] as const) {
      const last = new Map<string, number>()
      for (const change of found) {
        expect(Number(change.id), `${of} ${change[of]}`).toBeGreaterThan(last.get(change[of]) ?? 0)
        last.set(change[of], Number(change.id))
      }
    }
  }
  yield* host.db.run(
    "truncate items, others, threadline.audit_changes, threadline.audit_transactions, threadline.audit_actions"
  )
})

attacks("the feed", (attack) => {
  attack(
    "delivers every committed change exactly once and each row's in order, however transactions interleave",
    (host) =>
      Effect.gen(function* () {
        yield* host.db.run(hostTables)
        yield* host.apply({ table: "items" }, { table: "others" })
        const sessions = yield* Effect.forEach([0, 1, 2, 3], () => host.session())
        const feed = yield* connect(host.database.url)
        yield* Effect.promise(() =>
          FastCheck.assert(
            FastCheck.asyncProperty(FastCheck.array(command, { minLength: 10, maxLength: 60 }), (commands) =>
              Effect.runPromise(run(host, sessions, feed, commands))
            ),
            { numRuns: runs(40), endOnFailure: true }
          )
        )
      }).pipe(Effect.orDie),
    300_000
  )

  attack("keeps a row's changes in order beside a transaction of very many audited parts", (host) =>
    Effect.gen(function* () {
      yield* host.db.run(hostTables)
      yield* host.apply("items", "others")
      const feed = yield* connect(host.database.url)
      const { checkpoint } = yield* feed.read({ from: "now" })
      // Begun in this order, so that the one of many parts stands between the two that write one row.
      const [second, parts, first] = yield* Effect.all([host.session(), host.session(), host.session()])
      for (const session of [second, parts, first]) {
        yield* session.run("begin; select pg_current_xact_id()")
      }
      yield* first.run("insert into items values (1, 1); commit")
      yield* second.run("update items set v = 2 where id = 1; commit")
      yield* parts.run(
        `do $$ begin
           for n in 1..2000 loop
             perform threadline.begin_part('{}');
             insert into others values (n, n);
             perform threadline.finish('{}');
           end loop;
         end $$;
         commit`
      )
      const committed = yield* host.db.column("select id from threadline.audit_changes order by id")
      for (const limit of [1, 2, 700]) {
        const batch = yield* feed.read({ checkpoint, limit })
        const rest = yield* drain(feed, { checkpoint: batch.checkpoint, limit: 1000 })
        expect([...batch.changes.map(({ id }) => id), ...rest.ids]).toEqual(committed)
      }
      // Nor does retention pass the change that comes after so many rows.
      yield* host.db.run(
        "select threadline.feed_claim('reader', 'a token of some length', 60)",
        `select threadline.feed_store('reader', 'a token of some length', null, 'c',
           (select max(epoch) from threadline.installs), (
             select format('%s:%s:', x, x)::pg_snapshot from (select min(xid) as x from threadline.audit_transactions) t
           ), null, null, 60)`
      )
      expect(yield* host.db.value("select threadline.feed_horizon()")).toBe(
        yield* host.db.value("select min(id) from threadline.audit_changes")
      )
      yield* host.db.run("select threadline.feed_forget('reader')")
    })
  )

  attack("does not let a first write after a start fail for one that came before it", (host) =>
    Effect.gen(function* () {
      yield* host.db.run(hostTables)
      yield* host.apply("items")
      yield* host.db.run("insert into items values (1, 1)")
      for (const isolation of ["repeatable read", "serializable"]) {
        // As after a start: the epoch is known, the start is another one.
        yield* host.db.run("update threadline.installs set postmaster_started_at = 'epoch'")
        const old = yield* host.session()
        yield* old.run(`begin isolation level ${isolation}; select count(*) from items`)
        yield* host.db.run("insert into items select max(id) + 1, 0 from items")
        expect(yield* old.outcome("insert into items select max(id) + 10, 0 from items; commit")).toBe("ok")
        expect(
          yield* host.db.value("select count(*) from threadline.installs where postmaster_started_at = 'epoch'")
        ).toBe("0")
      }
      // Nor where a service keeps the names of its log to itself: then the control file has to do.
      yield* host.db.run(
        "revoke execute on function pg_walfile_name(pg_lsn), pg_current_wal_insert_lsn() from public",
        "update threadline.installs set postmaster_started_at = 'epoch'",
        "insert into items values (100, 0)",
        "grant execute on function pg_walfile_name(pg_lsn), pg_current_wal_insert_lsn() to public"
      )
      expect(yield* host.db.value("select count(distinct epoch) from threadline.audit_transactions")).toBe("1")
    })
  )

  attack("opens an epoch in a database that comes back to a server that is still running", (host) =>
    Effect.gen(function* () {
      yield* host.db.run(hostTables)
      yield* host.apply("items")
      // This session has written often enough to hold the epoch as a constant in its plans.
      const live = yield* host.session()
      for (const n of [11, 12, 13, 14]) yield* live.run(`insert into items values (${n}, 1)`)
      yield* live.run(`delete from items where id > 10`)
      yield* host.db.run("insert into items values (1, 1)")
      const feed = yield* connect(host.database.url)
      // It was elsewhere in between, and something was captured there.
      yield* host.db.run(
        `insert into threadline.installs (epoch, system_identifier, timeline, postmaster_started_at)
           select max(epoch) + 1, 42, 1, 'epoch' from threadline.installs;
         with t as (
           insert into threadline.audit_transactions (xid, epoch, occurred_at, db_user, backend_pid)
           select '5', max(epoch), clock_timestamp(), 'there', 1 from threadline.installs
           returning id, occurred_at
         )
         insert into threadline.audit_changes (transaction_id, captured_at, table_schema, table_name, op, row_key, data_after)
         select id, occurred_at, 'public', 'items', 'insert', '2', '{"id":2}' from t`
      )
      const there = yield* drain(feed)
      expect(there.ids).toHaveLength(10)
      yield* live.run("insert into items values (3, 3)")
      expect((yield* drain(feed, { checkpoint: there.checkpoint })).ids).toHaveLength(1)
      expect((yield* drain(feed)).ids).toHaveLength(11)
      expect(
        yield* host.db.value(
          "select max(t.epoch) = max(i.epoch) and count(*) > 0 from threadline.audit_transactions t, threadline.installs i"
        )
      ).toBe("t")
      for (const n of [4, 5, 6]) yield* live.run(`insert into items values (${n}, 3)`)
      expect(
        yield* host.db.value(
          `select string_agg(distinct t.epoch::text, ',' order by t.epoch::text)
           from threadline.audit_transactions t join threadline.audit_changes c on c.transaction_id = t.id
           where c.row_key in ('3', '4', '5', '6')`
        )
      ).toBe(yield* host.db.value("select max(epoch) from threadline.installs"))
    })
  )

  attack("leaves nothing out of a very large transaction, nor of those before, beside and after it", (host) =>
    Effect.gen(function* () {
      yield* host.db.run(hostTables)
      yield* host.apply("items", "others")
      const feed = yield* connect(host.database.url)
      const size = 50_000
      const few = (from: number) =>
        host.db.run(
          `do $$ begin for n in ${from}..${from + 99} loop insert into others values (n, n); commit; end loop; end $$`
        )
      for (const [round, write] of [
        (session: Session) => session.run(`insert into items select n, 1 from generate_series(1, ${size}) n`),
        (session: Session) =>
          Effect.forEach(
            Array.from({ length: 250 }, (_, part) => part * (size / 250)),
            (from) =>
              Effect.zipRight(
                session.run(
                  "savepoint s",
                  `update items set v = v + 1 where id > ${from} and id <= ${from + size / 250}`,
                  from % 3 === 0 ? "release s" : "savepoint inner_one; update others set v = 0; rollback to inner_one"
                ),
                from === size / 2 ? few(200) : Effect.void
              ),
            { discard: true }
          )
      ].entries()) {
        const { checkpoint } = yield* feed.read({ from: "now" })
        const before = yield* host.db.value("select coalesce(max(id), 0) from threadline.audit_changes")
        const long = yield* host.session()
        yield* few(round * 1000)
        yield* long.run("begin")
        yield* write(long)
        yield* few(round * 1000 + 100)
        yield* long.run("commit")
        yield* few(round * 1000 + 300)
        const committed = yield* host.db.column(
          `select id from threadline.audit_changes where id > ${before} order by id`
        )
        expect(committed).toHaveLength(size + 300 + round * 100)
        for (const limit of [1000, 10_000]) {
          const { batches, ids } = yield* drain(feed, { checkpoint, limit })
          expect(ids).toEqual(committed)
          expect(Math.max(...batches.map(({ checkpoint }) => checkpoint.length))).toBeLessThan(1000)
        }
      }
    })
  )
})

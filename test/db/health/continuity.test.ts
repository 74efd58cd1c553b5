import { describe, expect, it } from "@effect/vitest"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Continuity from "../../../src/Continuity.js"
import * as Health from "../../../src/Health.js"
import * as Query from "../../../src/Query.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { apply, changes, fresh, now, rows, run, value } from "../../support/capture.js"

const check = (options?: Continuity.CheckOptions) => Effect.provide(Continuity.check(options), Continuity.layer)

const baseline = (options?: Continuity.BaselineOptions) =>
  Effect.provide(Continuity.baseline(options), Continuity.layer)

const asOf = (table: string, key: Query.KeyInput, at: string) =>
  Effect.map(Effect.provide(Query.asOf(table, key, at), Query.layer), ({ _tag }) => _tag)

const why = (all: ReadonlyArray<Continuity.Readiness>) =>
  Object.fromEntries(all.map(({ answers, table }) => [table, answers.map((answer) => answer.why)]))

/** What is wrong with the images that follow one another, row by row, in an order of changes, and how the rows stand at the end. */
const chain = (table: string, order: string) =>
  Effect.gen(function* () {
    const toldRows = yield* rows(
      `select op, row_key, previous_row_key, changed_from, data_after from threadline.audit_changes
       where table_name = '${table}' order by ${order}`
    )
    const state = new Map<string, Record<string, unknown>>()
    const wrong: Array<string> = []
    for (const change of toldRows) {
      const key = String(change["row_key"])
      const previous = change["previous_row_key"]
      const former = typeof previous === "string" ? previous : key
      const before = state.get(former)
      const from = (change["changed_from"] ?? {}) as Record<string, unknown>
      const different = Object.entries(from).filter(
        ([field, old]) => before !== undefined && JSON.stringify(before[field]) !== JSON.stringify(old)
      )
      if (different.length > 0) {
        wrong.push(`${String(change["op"])} ${key}: ${JSON.stringify(different)} after ${JSON.stringify(before)}`)
      }
      if (change["op"] === "baseline" && before !== undefined) {
        wrong.push(`baseline of ${key}, which is known`)
      }
      state.delete(former)
      if (change["op"] !== "delete") {
        state.set(key, change["data_after"] as Record<string, unknown>)
      }
    }
    return { wrong, end: [...state].map(([key, row]) => [key, row]).sort() }
  })

const stands = (table: string, key: string) =>
  Effect.map(rows(`select ${key} as key, to_jsonb(t) as row from ${table} t`), (found) =>
    found.map(({ key, row }) => [String(key), row]).sort()
  )

describe("Continuity", () => {
  it.effect("says what can be asked, records what is not known, and then answers for rows that never changed", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(
          "create table posts (id int primary key, title text, secret text)",
          "create table lines (a int, b text, v text, primary key (b, a))",
          "create table events (id int, day date, v text, primary key (id, day)) partition by range (day)",
          "create table events_1 partition of events for values from ('2026-01-01') to ('2026-02-01')",
          "create table events_2 partition of events for values from ('2026-02-01') to ('2026-03-01')",
          "create table bare (v text)",
          "create table later (id int primary key)",
          "insert into posts select n, 'title ' || n, 'hush' from generate_series(1, 700) n",
          `insert into lines select n, 'b"' || n, 'v' from generate_series(1, 30) n`,
          "insert into events select n, '2026-01-01'::date + n, 'v' from generate_series(1, 50) n",
          "insert into bare values ('x')"
        )
        yield* apply([
          { table: "posts", exclude: ["secret"] },
          { table: "lines" },
          { table: "events" },
          { table: "bare" }
        ])
        yield* run("update posts set title = 'changed' where id = 5", "delete from posts where id = 6")
        expect(why(yield* check({ tables: [{ table: "later" }] }))).toEqual({
          "public.bare": [null, "no key", "no key"],
          "public.events": [null, null, "no baseline"],
          "public.later": ["not captured", "not captured", "not captured"],
          "public.lines": [null, null, "no baseline"],
          "public.posts": [null, null, "no baseline"]
        })
        const before = yield* now
        expect(yield* asOf("posts", "7", before)).toBe("BeforeCapture")

        const seen: Array<Continuity.Progress> = []
        const results = yield* baseline({
          batchSize: 100,
          onProgress: (progress) => Effect.sync(() => seen.push(progress))
        })
        expect(results).toEqual([
          { table: "public.events", state: "done", recorded: 50 },
          { table: "public.lines", state: "done", recorded: 30 },
          { table: "public.posts", state: "done", recorded: 698 }
        ])
        const ofPosts = seen.filter(({ table }) => table === "public.posts")
        expect(ofPosts.length).toBeGreaterThan(3)
        expect(ofPosts.at(-1)).toMatchObject({ recorded: 698, waiting: 0 })
        expect(ofPosts.every(({ blocks, blocksDone }) => blocksDone <= blocks)).toBe(true)

        const after = yield* now
        expect(yield* asOf("posts", "7", before)).toBe("BeforeCapture")
        expect(yield* asOf("posts", "7", after)).toBe("Present")
        expect(yield* asOf("lines", { a: 3, b: `b"3` }, after)).toBe("Present")
        expect(yield* asOf("events", ["40", "2026-02-10"], after)).toBe("Present")
        expect(
          yield* value("select count(*)::int from threadline.audit_changes where data_after::text like '%hush%'")
        ).toBe(0)
        const postsAnswer = (yield* check()).find(({ table }) => table === "public.posts")
        expect(postsAnswer).toMatchObject({
          captured: true,
          keyed: true,
          baseline: { state: "done", recorded: 698, valid: true },
          answers: [
            { question: "changes", from: postsAnswer?.since, why: null },
            { question: "changed rows", why: null },
            { question: "unchanged rows", from: postsAnswer?.baseline?.finishedAt, why: null }
          ]
        })

        // Again: nothing is left to record.
        expect(yield* baseline({ tables: ["posts"] })).toEqual([{ table: "public.posts", state: "done", recorded: 0 }])

        // After a lapse nothing is known, until there is another baseline.
        yield* run("alter table posts disable trigger all", "update posts set title = 'unseen' where id = 8")
        expect(why(yield* check())["public.posts"]).toEqual(["lapse", "lapse", "lapse"])
        expect(yield* Effect.flip(baseline({ tables: ["posts"] }))).toMatchObject({ reason: "LapseOpen" })
        yield* apply([{ table: "posts", exclude: ["secret"] }])
        expect(why(yield* check())["public.posts"]).toEqual([null, null, "no baseline"])
        expect(yield* asOf("posts", "8", yield* now)).toBe("BeforeCapture")
        expect(yield* baseline({ tables: ["posts"] })).toEqual([
          { table: "public.posts", state: "done", recorded: 699 }
        ])
        expect(yield* asOf("posts", "8", yield* now)).toBe("Present")

        // Both at once are what each of them is alone. A role that may not see says so, and is not refused.
        const { health, readiness } = yield* Effect.provide(Continuity.report(), Continuity.layer)
        expect(readiness).toStrictEqual(yield* check())
        const alone = yield* Effect.provide(Health.report(), Health.layer)
        expect({ ...health, at: alone.at }).toStrictEqual(alone)
        const database = yield* TestDatabase.TestDatabase
        const nobody = yield* Effect.provide(
          Continuity.report(),
          Layer.provide(Continuity.layer, database.connectLayer("nobody"))
        )
        expect([nobody.readiness, nobody.health.findings.map(({ code }) => code)]).toStrictEqual([
          null,
          expect.arrayContaining(["Unknown"])
        ])
      })
    )
  )

  it.effect("refuses what it cannot do exactly", () =>
    fresh(
      Effect.gen(function* () {
        const database = yield* TestDatabase.TestDatabase
        yield* run(
          "create table bare (v text)",
          "create table posts (id int primary key)",
          "insert into posts values (1)"
        )
        yield* apply([{ table: "bare" }, { table: "posts" }])
        const refused = (options: unknown) =>
          Effect.map(Effect.flip(baseline(options as Continuity.BaselineOptions)), (error) =>
            error._tag === "CaptureError" ? error.reason : error.message
          )
        expect(yield* refused({ tables: ["bare"] })).toBe("BaselineUnsupported")
        expect(yield* refused({ tables: ["nowhere"] })).toBe("NotCaptured")
        expect(yield* refused({ tables: ["a..b"] })).toMatch(/^tables\[0\]: must be a table name/)
        expect(yield* refused({ tables: "posts" })).toBe("tables: must be a list of names of tables")
        expect(yield* refused({ tables: null })).toBe("tables: must be a list of names of tables")
        expect(yield* refused({ onProgress: true })).toBe("onProgress: must be a function")
        expect(yield* refused(new Map([["tables", ["posts"]]]))).toBe("options: must be an object")
        expect(yield* refused({ table: ["bare"] })).toBe("table: is not known here")
        expect(yield* refused({ batchSize: 0 })).toMatch(/^batchSize: must be a whole number/)
        expect(yield* refused({ patience: "soon" })).toMatch(/^patience: must be a duration/)
        expect(yield* refused({ tables: ["posts", "public.posts"] })).toMatch(/twice/)
        const sql = yield* SqlClient.SqlClient
        expect(yield* Effect.flip(sql.withTransaction(Effect.mapError(baseline(), (error) => error)))).toMatchObject({
          reason: "InsideTransaction"
        })
        yield* run("alter table posts enable row level security")
        expect(yield* refused({ tables: ["posts"] })).toBe("RowsHidden")
        yield* run("alter table posts disable row level security")
        const stranger = yield* database.connect("stranger")
        const as = Layer.provide(Continuity.layer, Layer.succeed(SqlClient.SqlClient, stranger))
        expect(yield* Effect.flip(Effect.provide(Continuity.baseline({ tables: ["posts"] }), as))).toMatchObject({
          reason: "InsufficientPrivilege"
        })
        expect(yield* changes).toEqual([])
      })
    )
  )

  it.effect(
    "refuses a baseline while a partition that came after apply cannot be read, and records one after the next apply",
    () =>
      fresh(
        Effect.gen(function* () {
          yield* run(
            "create table parted (id int primary key, v text) partition by range (id)",
            "create table parted_1 partition of parted for values from (0) to (10)",
            "insert into parted values (1, 'v')"
          )
          for (const mode of ["statement", "row"] as const) {
            const tables = [{ table: "parted", mode, truncate: "rows" }] as const
            yield* apply(tables)
            const start = mode === "statement" ? 10 : 20
            yield* run(
              `create table parted_${mode} partition of parted for values from (${start}) to (${start + 10})`,
              `insert into parted values (${start}, 'v')`
            )
            const refused = yield* Effect.flip(baseline({ tables: ["parted"] }))
            expect(refused).toMatchObject({
              refusal: { reason: "InsufficientPrivilege", lacks: "rows", relation: `public.parted_${mode}` },
              mend: { _tag: "command" }
            })
            yield* apply(tables)
            expect((yield* baseline({ tables: ["parted"] })).map(({ state }) => state)).toEqual(["done"])
          }
        })
      )
  )

  it.effect(
    "records partitions of which one has row-level security only if both roles see all rows, and no foreign ones",
    () =>
      fresh(
        Effect.gen(function* () {
          const owner = yield* (yield* TestDatabase.TestDatabase).ownOwner
          yield* run(
            "create foreign data wrapper nowhere",
            "create server nowhere foreign data wrapper nowhere",
            "create foreign table far (id int, v text) server nowhere",
            "create table mixed (id int, v text) partition by range (id)",
            "create table mixed_1 partition of mixed for values from (0) to (10)",
            "create foreign table mixed_2 partition of mixed for values from (10) to (20) server nowhere",
            "create table events (id int primary key, v text) partition by range (id)",
            "create table events_1 partition of events for values from (0) to (10)",
            "create table events_2 partition of events for values from (10) to (20)",
            "insert into events select n, 'v' from generate_series(1, 19) n",
            "create table late (id int primary key, v text) partition by range (id)",
            "create table late_1 partition of late for values from (0) to (10)",
            "insert into mixed select n, 'v' from generate_series(1, 9) n",
            "insert into late select n, 'v' from generate_series(1, 9) n"
          )
          yield* apply(["far", "mixed", "events", "late"].map((table) => ({ table })))
          const refusal = (table: string) =>
            Effect.map(Effect.flip(baseline({ tables: [table] })), (error) =>
              JSON.stringify(error._tag === "CaptureError" ? [error.refusal, error.mend] : error.message)
            )
          for (const [table, relation] of [
            ["far", "far"],
            ["mixed", "mixed_2"]
          ] as const) {
            const said = yield* refusal(table)
            expect(said).toContain('"reason":"BaselineUnsupported","why":"foreign table"')
            expect(said).toContain(`"relation":"public.${relation}"`)
          }
          yield* run("alter table events_2 enable row level security", "alter table late enable row level security")
          const hidden = yield* refusal("events")
          expect(hidden).toContain(`"reason":"RowsHidden","relation":"public.events_2","role":"${owner}"`)
          expect(hidden).toContain(`alter role ${owner} bypassrls`)
          expect(yield* changes).toEqual([])
          // The rows of a table are read in its partitions, where that of the table itself hides nothing.
          expect(yield* baseline({ tables: ["late"] })).toEqual([{ table: "public.late", state: "done", recorded: 9 }])
          yield* run(`alter role ${owner} bypassrls`)
          expect(yield* baseline({ tables: ["events"] })).toEqual([
            { table: "public.events", state: "done", recorded: 19 }
          ])
          expect((yield* chain("events", "id")).end).toEqual(yield* stands("events", "id"))
        })
      )
  )

  it.scopedLive("waits for no writer, and records what they had locked when they are done", () =>
    fresh(
      Effect.gen(function* () {
        const database = yield* TestDatabase.TestDatabase
        yield* run(
          "create table posts (id int primary key, v int)",
          "insert into posts select n, 0 from generate_series(1, 300) n"
        )
        yield* apply([{ table: "posts" }])
        const raw = yield* database.rawClient()
        const ask = (text: string) => Effect.promise(() => raw.query(text))
        yield* ask("begin")
        yield* ask("update posts set v = 1 where id = 10")
        yield* ask("select from posts where id = 20 for update")
        expect(yield* baseline({ tables: ["posts"], patience: "200 millis" })).toEqual([
          { table: "public.posts", state: "waiting", recorded: 298 }
        ])
        expect(why(yield* check())["public.posts"]).toEqual([null, null, "baseline running"])
        const going = yield* Effect.fork(baseline({ tables: ["posts"] }))
        yield* ask("rollback")
        expect(yield* Fiber.join(going)).toEqual([{ table: "public.posts", state: "done", recorded: 300 }])
        expect((yield* chain("posts", "captured_at, id")).end).toEqual(yield* stands("posts", "id"))
      })
    )
  )

  it.scopedLive("is exact while rows change, in both orders, with two runners of which one is killed", () =>
    fresh(
      Effect.gen(function* () {
        const database = yield* TestDatabase.TestDatabase
        const keys = 400
        yield* run(
          "create table t (id int primary key, v int not null default 0, pad text not null default repeat('x', 300))",
          `insert into t (id) select n from generate_series(1, ${keys}) n`
        )
        yield* apply([{ table: "t" }])
        let stopped = false
        const writer = (seed: number) =>
          Effect.gen(function* () {
            const raw = yield* database.rawClient()
            yield* Effect.promise(async () => {
              let state = seed
              const random = (below: number) => {
                state = (state * 1103515245 + 12345) % 2147483648
                return Math.floor((state / 2147483648) * below)
              }
              while (!stopped) {
                const id = 1 + random(keys * 1.2)
                const statement = [
                  `update t set v = v + 1 where id = ${id}`,
                  `update t set v = v + 1 where id between ${id} and ${id + 5}`,
                  `delete from t where id = ${id}`,
                  `insert into t (id) values (${id}) on conflict (id) do update set v = t.v + 10`,
                  `begin; update t set v = -1 where id = ${id}; rollback`,
                  `update t set id = ${keys * 2 + random(keys)} where id = ${id} and not exists (select from t where id > ${keys * 2})`
                ][random(6)]
                await raw.query(statement ?? "").catch(async () => raw.query("rollback"))
              }
            })
          })
        const writers = yield* Effect.forkAll([1, 2, 3].map(writer))
        const sql = yield* SqlClient.SqlClient
        const shared = Layer.provide(Continuity.layer, Layer.succeed(SqlClient.SqlClient, sql))
        const runner = Effect.provide(Continuity.baseline({ tables: ["t"], batchSize: 20 }), shared)
        // The first is killed in the middle of a batch.
        const killed = yield* Effect.fork(Effect.either(runner))
        const kill = sql<{ pid: number }>`
          select pid, pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid() and query like '%baseline_batch%'
            and exists (select from threadline.capture_baselines b where b.recorded > 0)`
        const killing = yield* Effect.fork(
          Effect.repeat(Effect.zipRight(Effect.sleep("5 millis"), kill), { until: (ended) => ended.length > 0 }).pipe(
            Effect.timeout("1 minute")
          )
        )
        yield* Fiber.join(killing)
        expect(yield* Fiber.join(killed)).toMatchObject({ _tag: "Left", left: { _tag: "ThreadlineError" } })
        expect(yield* value("select recorded > 0 from threadline.capture_baselines")).toBe(true)
        const [first, second] = yield* Effect.all([runner, runner], { concurrency: 2 })
        expect([first[0]?.state, second[0]?.state]).toEqual(["done", "done"])
        stopped = true
        yield* Fiber.join(writers)

        const stored = yield* chain("t", "captured_at, id")
        expect(stored.wrong).toEqual([])
        expect(stored.end).toEqual(yield* stands("t", "id"))
        // The order in which a feed delivers the changes of a row.
        const fed = yield* chain("t", "id")
        expect(fed).toEqual(stored)
        const [twice] = yield* rows(
          "select count(*)::int as n from (select from threadline.audit_changes where op = 'baseline' group by row_key having count(*) > 1) x"
        )
        expect(twice).toEqual({ n: 0 })
      })
    )
  )

  it.effect("goes on after its table was written anew, and leaves no transaction behind that recorded nothing", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(
          "create table posts (id int primary key, v text)",
          "insert into posts select n, repeat('x', 500) from generate_series(1, 200) n"
        )
        yield* apply([{ table: "posts" }])
        let batches = 0
        const sql = yield* SqlClient.SqlClient
        const [result] = yield* baseline({
          tables: ["posts"],
          batchSize: 10,
          onProgress: () => (++batches === 2 ? Effect.orDie(Effect.asVoid(sql`vacuum full posts`)) : Effect.void)
        })
        expect(result).toEqual({ table: "public.posts", state: "done", recorded: 200 })
        expect((yield* chain("posts", "id")).wrong).toEqual([])
        expect(
          yield* value(
            "select count(*)::int from threadline.audit_transactions t where not exists (select from threadline.audit_changes c where c.transaction_id = t.id)"
          )
        ).toBe(0)
      })
    )
  )

  it.effect("claims nothing of a table that a partition with rows joined during its baseline", () =>
    fresh(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* run(
          "create table events (id int primary key, v text) partition by range (id)",
          "create table events_1 partition of events for values from (0) to (1000)",
          "insert into events select n, repeat('v', 200) from generate_series(1, 300) n",
          "create table events_2 (id int primary key, v text)",
          "insert into events_2 values (1000, 'came with it')"
        )
        yield* apply([{ table: "events" }])
        let batches = 0
        yield* baseline({
          batchSize: 20,
          onProgress: () =>
            ++batches === 2
              ? Effect.orDie(sql`alter table events attach partition events_2 for values from (1000) to (2000)`)
              : Effect.void
        })
        const [told] = yield* check()
        expect([told?.captured, told?.answers.map((answer) => answer.why)]).toEqual([
          false,
          ["not captured", "not captured", "not captured"]
        ])
        expect(yield* asOf("events", "1000", yield* now)).toBe("BeforeCapture")
        yield* apply([{ table: "events" }])
        yield* baseline()
        expect(why(yield* check())).toEqual({ "public.events": [null, null, null] })
        expect(yield* asOf("events", "1000", yield* now)).toBe("Present")
      })
    )
  )

  it.effect("is exact, or refuses, whatever is done to its table meanwhile", () =>
    fresh(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const fill = "insert into posts select n, repeat('x', 500) from generate_series(1, 200) n"
        for (const [done, expected] of [
          ["truncate posts", "done"],
          [`truncate posts; ${fill}`, "done"],
          ["alter table posts add column w text default 'w'", "done"],
          ["alter table posts alter v type varchar(900) using v || '!'", "LapseOpen"]
        ] as const) {
          yield* run("drop table if exists posts", "create table posts (id int primary key, v text)", fill)
          yield* apply([{ table: "posts" }])
          let batches = 0
          const outcome = yield* Effect.either(
            baseline({
              tables: ["posts"],
              batchSize: 10,
              onProgress: () => (++batches === 2 ? Effect.orDie(Effect.asVoid(sql.unsafe(done))) : Effect.void)
            })
          )
          const said = Either.match(outcome, {
            onLeft: (error) => (error._tag === "CaptureError" ? error.reason : error.message),
            onRight: ([result]) => result?.state
          })
          expect([done, said]).toEqual([done, expected])
          if (said === "done") {
            const answerOfRow = yield* asOf("posts", "200", yield* now)
            expect([done, answerOfRow === "Present"]).toEqual([done, done !== "truncate posts"])
          }
        }
      })
    )
  )
})

/** Dumped, restored into another cluster, and written on: transaction ids start over, and nothing is anybody else's. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Capture from "../../src/Capture.js"
import * as Migrations from "../../src/Migrations.js"
import * as Installation from "../harness/Installation.js"
import * as TestCluster from "../harness/TestCluster.js"
import { chain, type Session } from "../support/adversarial.js"
import { captureIn, sessionIn } from "../support/server.js"

const owner = "keeper_of_records"

const host = `
  create table posts (id int primary key, title text);
  create table parts (id int, day date, primary key (id, day)) partition by range (day);
  create table parts_1 partition of parts for values from ('2020-01-01') to ('2030-01-01')`

const prepare = (url: string, capture: boolean) =>
  Effect.gen(function* () {
    yield* Migrations.run({ ownerRole: owner })
    if (capture) {
      yield* Effect.flatMap(Capture.Capture, (service) => service.apply([{ table: "posts" }, { table: "parts" }]))
    }
  }).pipe(Effect.provide(captureIn(url)))

const write = (db: Session, from: number, count: number, actor: string) =>
  Effect.forEach(
    Array.from({ length: count }, (_, n) => from + n),
    (id) =>
      db.run(
        `begin; select threadline.set_context('{"actor":{"type":"user","id":"${actor}"}}');
         insert into posts values (${id}, 'by ${actor}'); insert into parts values (${id}, '2024-01-01'); commit`
      ),
    { discard: true }
  )

/** Who is said to have written each row, and in which epoch. */
const attribution = (db: Session) =>
  db.rows(`
    select t.epoch, t.actor_id as actor, count(*) as changes, count(distinct t.id) as transactions,
      bool_and(c.table_name <> 'posts' or c.data_after ->> 'title' = 'by ' || t.actor_id) as right
    from threadline.audit_changes c join threadline.audit_transactions t on t.id = c.transaction_id
    where c.op = 'insert'
    group by 1, 2 order by 1, 2`)

const xid = (db: Session) => Effect.map(db.value("select pg_current_xact_id()"), Number)

// A machine with nothing but Node has no pg_dump: there the tests are not defined. Continuous integration has it.
if (Installation.withTools() !== undefined) {
  describe("after a dump,", () => {
    const cases = [
      ["as a script", "plain"],
      ["as an archive, by one job after the other", "custom"]
    ] as const
    for (const [label, format] of cases) {
      it.scopedLive(
        `a database restored ${label} into a fresh cluster attributes old and new to those who wrote`,
        () =>
          Effect.gen(function* () {
            const first = yield* TestCluster.make({ tools: true })
            const admin = yield* sessionIn(first, "postgres")
            yield* admin.run("create database app")
            const source = yield* sessionIn(first, "app")
            yield* source.run(host)
            yield* prepare(first.urlOf("app"), true)
            // So many that the other cluster's transaction ids come by here again: to restore takes one for each object.
            const writes = 1400
            yield* write(source, 1, writes, "before")
            yield* source.run('select threadline.record_action(\'{"name":"waiting"}\')')
            const lowest = Number(
              yield* source.value("select min(xid::text::bigint) from threadline.audit_transactions")
            )
            const highest = Number(
              yield* source.value("select max(xid::text::bigint) from threadline.audit_transactions")
            )

            const second = yield* TestCluster.make({ tools: true })
            const there = yield* sessionIn(second, "postgres")
            yield* there.run(`create role ${owner} nologin`, "create database app")
            const file = `${second.dataDirectory}/../app.${format}`
            const dump = yield* first.run("pg_dump", ["-d", first.urlOf("app"), "--format", "plain"])
            if (format === "plain") {
              yield* second.run(
                "psql",
                ["-d", second.urlOf("app"), "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null"],
                dump
              )
            } else {
              yield* first.run("pg_dump", ["-d", first.urlOf("app"), "--format", "custom", "--file", file])
              yield* second.run("pg_restore", ["-d", second.urlOf("app"), "--exit-on-error", file])
            }
            const restored = yield* sessionIn(second, "app")
            expect(yield* attribution(restored)).toEqual(yield* attribution(source))

            // The new cluster's ids run through the old ones.
            const now = yield* xid(restored)
            expect(now).toBeLessThan(highest)
            yield* restored.run(
              `do $$ begin for i in 1..${Math.max(0, lowest - now)} loop perform pg_current_xact_id(); commit; end loop; end $$`
            )
            yield* write(restored, 2000, writes, "after")
            yield* restored.run("insert into posts values (5000, 'by nobody')")
            const overlap = yield* restored.value(
              "select count(*) from threadline.audit_transactions a join threadline.audit_transactions b on a.xid = b.xid and a.epoch < b.epoch"
            )
            expect(Number(overlap)).toBeGreaterThan(100)
            expect(yield* attribution(restored)).toEqual([
              { epoch: "1", actor: "before", changes: `${2 * writes}`, transactions: `${writes}`, right: "t" },
              { epoch: "2", actor: "after", changes: `${2 * writes}`, transactions: `${writes}`, right: "t" },
              { epoch: "2", actor: null, changes: "1", transactions: "1", right: null }
            ])
            expect(yield* restored.column("select transaction_id from threadline.audit_actions")).toEqual([null])
            expect(yield* chain(restored, "posts")).toEqual([])
            expect(yield* restored.value("select count(*) from threadline.installs")).toBe("2")

            // The first cluster goes on in its own epoch, also after a restart.
            yield* first.stop()
            yield* first.start
            const again = yield* sessionIn(first, "app")
            yield* write(again, 2000, 3, "before")
            expect(yield* attribution(again)).toEqual([
              { epoch: "1", actor: "before", changes: `${2 * (writes + 3)}`, transactions: `${writes + 3}`, right: "t" }
            ])

            // What is installed there knows itself again, and is applied without a word of complaint.
            const statuses = yield* Effect.flatMap(Capture.Capture, (service) => service.status()).pipe(
              Effect.provide(captureIn(second.urlOf("app")))
            )
            const errors = statuses.flatMap(({ findings }) =>
              findings.filter(({ severity }) => severity === "error").map(({ kind }) => kind)
            )
            expect(errors).toEqual([])
          }),
        300_000
      )
    }

    it.scopedLive(
      "data alone, restored through the roots of partitions into a migrated schema, is attributed as it was",
      () =>
        Effect.gen(function* () {
          const first = yield* TestCluster.make({ tools: true })
          const admin = yield* sessionIn(first, "postgres")
          yield* admin.run("create database app")
          const source = yield* sessionIn(first, "app")
          yield* source.run(host)
          yield* prepare(first.urlOf("app"), true)
          yield* write(source, 1, 50, "before")

          const second = yield* TestCluster.make({ tools: true })
          const there = yield* sessionIn(second, "postgres")
          yield* there.run("create database app")
          const target = yield* sessionIn(second, "app")
          yield* target.run(host)
          yield* prepare(second.urlOf("app"), false)
          const dump = yield* first.run("pg_dump", [
            "-d",
            first.urlOf("app"),
            "--data-only",
            "--load-via-partition-root",
            "--exclude-table-data=threadline.migrations"
          ])
          yield* second.run("psql", ["-d", second.urlOf("app"), "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null"], dump)
          yield* Effect.flatMap(Capture.Capture, (service) =>
            service.apply([{ table: "posts" }, { table: "parts" }])
          ).pipe(Effect.provide(captureIn(second.urlOf("app"))))
          expect(yield* attribution(target)).toEqual(yield* attribution(source))
          // Cursors go on: the key that came with the data is older than that of the schema.
          const key = "select encode(key, 'hex') from threadline.cursor_keys order by created_at limit 1"
          expect(yield* target.value(key)).toBe(yield* source.value(key))
          yield* write(target, 1000, 50, "after")
          expect(yield* attribution(target)).toEqual([
            { epoch: "1", actor: "before", changes: "100", transactions: "50", right: "t" },
            { epoch: "2", actor: "after", changes: "100", transactions: "50", right: "t" }
          ])
          expect(yield* target.value("select count(*) = count(distinct id) from threadline.audit_changes")).toBe("t")
          expect(yield* chain(target, "posts")).toEqual([])
        }),
      300_000
    )

    const newer = Installation.all().find(({ major }) => major > (Installation.withTools()?.major ?? 0))
    if (newer !== undefined) {
      it.scopedLive(
        `a database restored into a newer major (${newer.major}) attributes old and new to those who wrote`,
        () =>
          Effect.gen(function* () {
            const first = yield* TestCluster.make({ tools: true })
            const admin = yield* sessionIn(first, "postgres")
            yield* admin.run("create database app")
            const source = yield* sessionIn(first, "app")
            yield* source.run(host)
            yield* prepare(first.urlOf("app"), true)
            yield* write(source, 1, 50, "before")
            const second = yield* TestCluster.make({ postgres: newer.kind === "embedded" ? "embedded" : newer.major })
            const there = yield* sessionIn(second, "postgres")
            yield* there.run(`create role ${owner} nologin`, "create database app")
            const dump = yield* first.run("pg_dump", ["-d", first.urlOf("app")])
            // The newer one may come without tools; those of the older one read its own dump.
            yield* first.run(
              "psql",
              ["-d", second.urlOf("app"), "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null"],
              dump
            )
            const restored = yield* sessionIn(second, "app")
            yield* write(restored, 1000, 50, "after")
            yield* restored.run("update posts set title = title || '!'", "truncate parts_1")
            expect(
              (yield* attribution(restored)).map(({ actor, epoch, transactions }) => [epoch, actor, transactions])
            ).toEqual([
              ["1", "before", "50"],
              ["2", "after", "50"]
            ])
            expect(yield* chain(restored, "posts")).toEqual([])
          }),
        300_000
      )
    }
  })
}

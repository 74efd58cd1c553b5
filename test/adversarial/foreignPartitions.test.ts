/**
 * Foreign tables as partitions. PostgreSQL refuses a write that reaches one through a table with transition tables: capture must not
 * be why a write of the host fails.
 */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, changes, type Host, migrate } from "../support/adversarial.js"
import { foreignServer } from "../support/foreignServer.js"

const partitioned = [
  "create table events (k int not null, v text) partition by list (k)",
  "create table events_1 partition of events for values in (1)",
  "create table events_2 partition of events for values in (2, 3, 4) partition by list (k)",
  "create table events_21 partition of events_2 for values in (2)"
]

const far = [
  "create table events_at_home (k int not null, v text)",
  "create foreign table events_far (k int not null, v text) server here options (table_name 'events_at_home')"
]

const writes = (table: string) => [
  `insert into ${table} values (1, 'a'), (3, 'far')`,
  `update ${table} set v = v || '!'`,
  `delete from ${table} where k = 3`,
  `insert into ${table} values (3, 'again')`
]

const brief = ({ db }: Host) => Effect.map(changes(db), (found) => found.map(({ op, table }) => `${table} ${op}`))

const cleanUp = ({ db }: Host) => db.run("drop server if exists here cascade")

attacks("foreign partitions", (attack) => {
  attack(
    "come to a table that no unique index closes to them, from a server that came after apply: it is captured in row mode, and no write fails",
    (host) =>
      Effect.gen(function* () {
        const { apply, db, findings } = host
        yield* db.run(...partitioned, "create table closed (k int primary key) partition by list (k)")
        const steps = yield* apply("events", "closed")
        expect(steps.map((step) => (step.kind === "attach" ? `${step.table} ${step.mode}` : step.kind))).toEqual([
          "public.events row",
          "public.closed statement"
        ])
        yield* db.run(
          ...foreignServer(host),
          ...far,
          "alter table events_2 attach partition events_far for values in (3)"
        )
        yield* db.run(...writes("events"), ...writes("events").slice(1), "update events_2 set v = 'b'")
        const recordedLines = yield* brief(host)
        expect(recordedLines.filter((change) => change === "events insert")).toHaveLength(4)
        expect(recordedLines.filter((change) => change === "events delete")).toHaveLength(2)
        yield* apply("events")
        expect(yield* findings({ table: "events" })).not.toContain("ModeUnsuitable")
        yield* cleanUp(host)
      })
  )

  attack(
    "are announced where they would break writes: a mode that was chosen, a unique index that was dropped",
    (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run(...partitioned)
        yield* apply({ table: "events", mode: "statement" })
        expect(yield* host.findings({ table: "events", mode: "statement" })).toEqual(["NoKey"])
        yield* db.run(...foreignServer(host), "create table closed (k int primary key) partition by list (k)")
        expect(yield* host.findings({ table: "events" })).toEqual(["ConfigurationDiffers", "NoKey", "ModeUnsuitable"])
        const [status] = yield* capture.status([{ table: "events", mode: "statement" }])
        expect(status?.findings.find(({ kind }) => kind === "ModeUnsuitable")).toMatchObject({
          severity: "info",
          why: { cause: "foreign server", relation: null }
        })
        expect((yield* capture.plan([{ table: "events" }])).map(({ kind }) => kind)).toEqual(["regenerate"])
        yield* apply("events", "closed")
        expect(yield* host.findings({ table: "events" })).toEqual(["NoKey"])
        yield* db.run("alter table closed drop constraint closed_pkey")
        expect(yield* host.findings({ table: "closed" })).toContain("ModeUnsuitable")
        expect((yield* apply("closed")).map(({ kind }) => kind)).toEqual(["regenerate"])
        expect(yield* host.findings({ table: "closed" })).not.toContain("ModeUnsuitable")
        yield* cleanUp(host)
      })
  )

  attack("are kept out of a table in statement mode by a constraint trigger, and writes go on", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(...partitioned)
      yield* apply({ table: "events", mode: "statement" })
      yield* db.run(
        `create constraint trigger no_foreign_partitions after delete on events
         for each row when (false) execute function suppress_redundant_updates_trigger()`,
        ...foreignServer(host),
        ...far
      )
      const refused = "42809"
      expect(yield* db.outcome("alter table events_2 attach partition events_far for values in (3)")).toBe(refused)
      expect(
        yield* db.outcome("create foreign table events_4 partition of events_2 for values in (4) server here")
      ).toBe(refused)
      yield* db.run("insert into events values (1, 'a'), (2, 'b')", "delete from events where k = 1")
      expect(yield* brief(host)).toEqual(["events insert", "events insert", "events delete"])
      yield* apply("events")
      yield* db.run(
        "drop trigger no_foreign_partitions on events",
        "alter table events_2 attach partition events_far for values in (3)",
        ...writes("events")
      )
      expect((yield* brief(host)).length).toBeGreaterThan(6)
      yield* cleanUp(host)
    })
  )

  attack("under the schema watch let writes through, and begin a lapse that apply ends", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* migrate(host, { watchSchema: true })
      yield* db.run(...partitioned)
      yield* apply({ table: "events", mode: "statement" })
      yield* db.run("insert into events values (1, 'before')")
      const app = yield* host.session()
      yield* app.run(
        ...foreignServer(host),
        ...far,
        "alter table events_2 attach partition events_far for values in (3)"
      )
      yield* app.run(...writes("events"), ...writes("events_2").slice(1, 3))
      expect(
        yield* db.value(
          "select (count(*) > 0)::text from unnest(threadline.capture_lapses('public', 'events')) l where upper_inf(l)"
        )
      ).toBe("true")
      expect(
        yield* db.column(
          "select effect || coalesce(' ' || (details ->> 'gap'), '') from threadline.schema_events where table_name = 'events' and effect <> 'none' and command <> 'capture' order by id"
        )
      ).toEqual(["partition attached", "lapse begins triggers"])
      expect(yield* host.findings({ table: "events" })).toContain("ModeUnsuitable")
      yield* apply("events")
      yield* app.run(...writes("events"))
      const recordedLines = yield* brief(host)
      expect(recordedLines.slice(-6)).toContain("events insert")
      expect(
        yield* db.value(
          "select (count(*) filter (where upper_inf(l)))::text from unnest(threadline.capture_lapses('public', 'events')) l"
        )
      ).toBe("0")
      yield* cleanUp(host)
    })
  )

  attack("of a guarded table are refused by the schema watch, with what to do", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* migrate(host, { watchSchema: true })
      yield* db.run(...partitioned)
      yield* apply({ table: "events", dropGuard: true, mode: "statement" })
      yield* db.run(...foreignServer(host), ...far)
      expect(yield* db.outcome("alter table events_2 attach partition events_far for values in (3)")).toBe("TL020")
      expect(
        yield* db.outcome("create foreign table events_4 partition of events_2 for values in (4) server here")
      ).toBe("TL020")
      yield* db.run("insert into events values (1, 'a')")
      expect(yield* brief(host)).toEqual(["events insert"])
      yield* apply({ table: "events", dropGuard: true, mode: "row" })
      yield* db.run("alter table events_2 attach partition events_far for values in (3)", ...writes("events"))
      expect((yield* brief(host)).length).toBeGreaterThan(5)
      yield* cleanUp(host)
    })
  )
})

import { describe, expect, it } from "@effect/vitest"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import {
  apply,
  changes,
  finding,
  findingKinds,
  fresh,
  kinds,
  plan,
  refusal,
  remove,
  rows,
  run,
  status,
  value
} from "../../support/capture.js"

const tree = run(
  "create schema parts",
  "create table events (region text, at int, note text, primary key (region, at)) partition by list (region)",
  "create table events_eu partition of events for values in ('eu') partition by range (at)",
  "create table events_eu_1 partition of events_eu for values from (0) to (100)",
  `create table parts."Events.US" partition of events for values in ('us')`
)

const everywhere = value(
  `select count(*)::int from pg_trigger t join pg_proc p on p.oid = t.tgfoid
   join pg_class c on c.oid = t.tgrelid
   where p.pronamespace = 'threadline'::regnamespace and c.relnamespace <> p.pronamespace`
)

const partitions = value("select array_to_string(partitions, ' ') from threadline.capture_policies")

describe("partitions", () => {
  it.effect("are captured under the name of their root, at every level, whichever table a statement names", () =>
    fresh(
      Effect.gen(function* () {
        yield* tree
        const steps = yield* apply([{ table: "events" }])
        expect(kinds(steps)).toEqual(["attach public.events"])
        expect(steps[0]?.summary).toContain("3 partitions")
        expect(yield* partitions).toBe(`parts."Events.US" public.events_eu public.events_eu_1`)
        yield* run(
          "insert into events values ('eu', 1, 'a'), ('us', 1, 'a')",
          "insert into events_eu values ('eu', 2, 'b')",
          "insert into events_eu_1 values ('eu', 3, 'c')",
          `update parts."Events.US" set note = 'x'`,
          "update events set region = 'us', at = 50 where at = 3",
          "delete from events_eu"
        )
        expect(yield* changes).toEqual([
          `events insert ["eu","1"]`,
          `events insert ["us","1"]`,
          `events insert ["eu","2"]`,
          `events insert ["eu","3"]`,
          `events update ["us","1"]`,
          `events update ["us","50"]`,
          `events delete ["eu","1"]`,
          `events delete ["eu","2"]`
        ])
        expect(yield* plan([{ table: "events" }])).toEqual([])
        expect(findingKinds(yield* status([{ table: "events" }]))).toEqual([])
        expect(yield* remove("events")).toHaveLength(1)
        expect(yield* everywhere).toBe(0)
      })
    )
  )

  it.effect("that were detached go on taking writes, recorded under their own name", () =>
    fresh(
      Effect.gen(function* () {
        yield* tree
        yield* apply([{ table: "events" }])
        yield* run(
          `alter table events detach partition parts."Events.US"`,
          `insert into parts."Events.US" values ('us', 9, 'alone'), ('us', 10, 'alone')`,
          `truncate parts."Events.US"`
        )
        expect(yield* changes).toEqual([
          `Events.US insert ["us","9"]`,
          `Events.US insert ["us","10"]`,
          "Events.US truncate null"
        ])
      })
    )
  )

  it.effect("that joined are found and captured, and the policy knows them", () =>
    fresh(
      Effect.gen(function* () {
        yield* tree
        yield* apply([{ table: "events" }])
        yield* run(
          "create table events_asia (region text not null, at int not null, note text, primary key (region, at))",
          "insert into events_asia values ('asia', 1, 'before')",
          "alter table events attach partition events_asia for values in ('asia')",
          "create table events_eu_2 partition of events_eu for values from (100) to (200)"
        )
        const before = yield* status()
        expect(before).toMatchObject([{ captured: false }])
        expect(findingKinds(before)).toEqual(["PartitionAttached", "PartitionAttached"])

        const steps = yield* apply([{ table: "events" }])
        expect(kinds(steps)).toEqual(["attach partition public.events", "attach partition public.events"])
        expect(steps.map(({ summary }) => summary)).toEqual([
          "capture partition public.events_asia",
          "capture partition public.events_eu_2"
        ])
        expect(yield* plan([{ table: "events" }])).toEqual([])
        yield* run("insert into events_asia values ('asia', 2)", "insert into events_eu_2 values ('eu', 150)")
        expect(yield* changes).toEqual([`events insert ["asia","2"]`, `events insert ["eu","150"]`])
        expect(yield* partitions).toBe(
          `parts."Events.US" public.events_eu public.events_eu_1 public.events_asia public.events_eu_2`
        )
      })
    )
  )

  it.effect(
    "that joined have their rows seen in row mode, where PostgreSQL clones the triggers, and not in statement mode",
    () =>
      fresh(
        Effect.gen(function* () {
          for (const mode of ["row", "statement"] as const) {
            yield* run(
              `create table by_${mode} (id int primary key) partition by range (id)`,
              `create table by_${mode}_1 partition of by_${mode} for values from (0) to (10)`
            )
          }
          const configs = [
            { table: "by_row", mode: "row" },
            { table: "by_statement", mode: "statement" }
          ] as const
          yield* apply(configs)
          for (const { mode } of configs) {
            yield* run(`create table by_${mode}_2 partition of by_${mode} for values from (10) to (20)`)
          }
          const statuses = yield* status(configs)
          expect(finding(statuses.slice(0, 1), "PartitionAttached")).toMatchObject({
            severity: "warning",
            rowsSeen: true,
            detail: "partition public.by_row_2 was attached; its rows are captured, and a TRUNCATE of it alone is not"
          })
          expect(finding(statuses.slice(1), "PartitionAttached")).toMatchObject({
            severity: "error",
            rowsSeen: false,
            detail: "partition public.by_statement_2 was attached and is not captured when it is written to directly"
          })
          yield* run("insert into by_row_2 values (11)", "insert into by_statement_2 values (11)")
          expect(yield* changes).toEqual(["by_row insert 11"])
        })
      )
  )

  it.effect("that joined are written as baseline where that is asked for, once", () =>
    fresh(
      Effect.gen(function* () {
        yield* tree
        yield* apply([{ table: "events", mask: ["note"] }])
        yield* run(
          "create table events_asia (region text not null, at int not null, note text, primary key (region, at))",
          "insert into events_asia values ('asia', 1, 'before'), ('asia', 2, 'before')",
          "alter table events attach partition events_asia for values in ('asia')"
        )
        const config = [{ table: "events", mask: ["note"] }]
        const steps = yield* apply(config, { markPartitions: true })
        expect(steps[0]?.summary).toBe("capture partition public.events_asia, and write its rows as baseline")
        expect(yield* changes).toEqual([`events baseline ["asia","1"]`, `events baseline ["asia","2"]`])
        expect(yield* value("select data_after ->> 'note' from threadline.audit_changes limit 1")).toBe("[masked]")
        expect(yield* apply(config, { markPartitions: true })).toEqual([])
      })
    )
  )

  it.effect("that left keep no triggers, and are written as deleted where that is asked for", () =>
    fresh(
      Effect.gen(function* () {
        yield* tree
        const config = [{ table: "events" }]
        yield* apply(config)
        yield* run(
          "insert into events values ('us', 1, 'a'), ('eu', 1, 'b')",
          `alter table events detach partition parts."Events.US"`
        )
        const before = yield* status()
        expect(before).toMatchObject([{ captured: true }])
        expect(finding(before, "PartitionDetached")).toMatchObject({
          severity: "error",
          subjects: [`parts."Events.US"`]
        })

        const steps = yield* apply(config, { markPartitions: true })
        expect(kinds(steps)).toEqual(["detach partition public.events", "refresh public.events"])
        expect((yield* changes).at(-1)).toBe(`events delete ["us","1"]`)
        expect(yield* plan(config, { markPartitions: true })).toEqual([])
        expect(findingKinds(yield* status())).toEqual([])
        yield* run(`insert into parts."Events.US" values ('us', 2)`)
        expect(yield* changes).toHaveLength(3)
      })
    )
  )

  it.effect("that left without a mark leave the record as it is; those dropped are forgotten", () =>
    fresh(
      Effect.gen(function* () {
        yield* tree
        const config = [{ table: "events" }]
        yield* apply(config)
        yield* run(
          "insert into events values ('us', 1, 'a')",
          `alter table events detach partition parts."Events.US"`,
          "drop table events_eu_1"
        )
        const steps = yield* apply(config)
        expect(steps.map(({ summary }) => summary)).toEqual([
          `end the capture of parts."Events.US", which left the table`,
          "forget partition public.events_eu_1, which is gone",
          "note the lapse since the table was last known"
        ])
        expect(yield* changes).toEqual([`events insert ["us","1"]`])
        expect(yield* partitions).toBe("public.events_eu")
        expect(yield* plan(config)).toEqual([])
      })
    )
  )

  it.effect("whose whole subtree leaves, leave", () =>
    fresh(
      Effect.gen(function* () {
        yield* tree
        yield* apply([{ table: "events" }])
        yield* run("insert into events values ('eu', 1)", "alter table events detach partition events_eu")
        expect(kinds(yield* apply([{ table: "events" }], { markPartitions: true }))).toEqual([
          "detach partition public.events",
          "detach partition public.events",
          "refresh public.events"
        ])
        // Once, although the row is in the subtree and in its leaf.
        expect(yield* changes).toEqual([`events insert ["eu","1"]`, `events delete ["eu","1"]`])
        expect(
          yield* rows("select from pg_trigger where tgrelid in ('events_eu'::regclass, 'events_eu_1'::regclass)")
        ).toEqual([])
        expect(yield* plan([{ table: "events" }])).toEqual([])
      })
    )
  )

  it.effect("that became tables of their own are captured as such, and the other way round", () =>
    fresh(
      Effect.gen(function* () {
        yield* tree
        yield* apply([{ table: "events" }])
        yield* run("alter table events_eu detach partition events_eu_1")
        const both = [{ table: "events" }, { table: "events_eu_1" }]
        expect(kinds(yield* apply(both))).toEqual(["detach partition public.events", "attach public.events_eu_1"])
        expect(yield* plan(both)).toEqual([])
        yield* run("insert into events_eu_1 values ('eu', 1)")
        expect((yield* changes).at(-1)).toBe(`events_eu_1 insert ["eu","1"]`)

        yield* run("alter table events_eu attach partition events_eu_1 for values from (0) to (100)")
        expect(yield* refusal(plan(both))).toMatchObject({ reason: "PartitionNamed", table: "public.events_eu_1" })
        const steps = yield* apply([{ table: "events" }])
        expect(steps.map(({ summary }) => summary)).toContain("capture partition public.events_eu_1")
        expect(yield* plan([{ table: "events" }], { prune: true })).toEqual([])
        expect(yield* rows("select table_name from threadline.capture_policies where removed_at is null")).toEqual([
          { table_name: "events" }
        ])
        yield* run("insert into events_eu_1 values ('eu', 2)")
        expect((yield* changes).at(-1)).toBe(`events insert ["eu","2"]`)
      })
    )
  )

  it.effect("have their triggers repaired, those cloned from a row trigger included", () =>
    fresh(
      Effect.gen(function* () {
        yield* tree
        yield* apply([{ table: "events" }])
        yield* run(
          `drop trigger "0_threadline_insert" on events_eu_1`,
          `alter table parts."Events.US" disable trigger "0_threadline_delete"`
        )
        const steps = yield* apply([{ table: "events" }])
        expect(kinds(steps)).toEqual(["repair public.events"])
        expect(steps[0]?.summary).toContain("public.events_eu_1: 0_threadline_insert missing")
        expect(yield* plan([{ table: "events" }])).toEqual([])

        yield* apply([{ table: "events", mode: "row" }])
        yield* run("alter table events_eu_1 disable trigger all")
        expect(finding(yield* status(), "TriggerDisabled")?.subjects).toContainEqual(
          expect.stringMatching(/^0_threadline_insert_/)
        )
        expect(kinds(yield* apply([{ table: "events", mode: "row" }]))).toEqual(["repair public.events"])
        expect(yield* plan([{ table: "events", mode: "row" }])).toEqual([])
        yield* run("insert into events_eu_1 values ('eu', 1)")
        expect(yield* changes).toEqual([`events insert ["eu","1"]`])
      })
    )
  )

  it.effect("in row mode need triggers of their own for TRUNCATE only", () =>
    fresh(
      Effect.gen(function* () {
        yield* tree
        yield* apply([{ table: "events", mode: "row" }])
        expect(yield* plan([{ table: "events", mode: "row" }])).toEqual([])
        yield* run("create table events_asia partition of events for values in ('asia')")
        yield* run("insert into events_asia values ('asia', 1)")
        expect(yield* changes).toEqual([`events insert ["asia","1"]`])
        const [step] = yield* apply([{ table: "events", mode: "row" }])
        expect(step?.kind).toBe("attach partition")
        expect(step?.sql.filter((statement) => statement.startsWith("create or replace trigger"))).toHaveLength(1)
        expect(yield* plan([{ table: "events", mode: "row" }])).toEqual([])
      })
    )
  )

  it.effect("that are foreign tables turn the whole table to row mode", () =>
    fresh(
      Effect.gen(function* () {
        yield* tree
        yield* apply([{ table: "events" }])
        yield* run(
          "create foreign data wrapper nothing",
          "create server nowhere foreign data wrapper nothing",
          "create foreign table events_far (region text not null, at int not null, note text) server nowhere"
        )
        const sql = yield* SqlClient.SqlClient
        // An index on the root keeps foreign partitions out.
        yield* run("alter table events drop constraint events_pkey")
        yield* sql.unsafe("alter table events attach partition events_far for values in ('far')")
        expect(findingKinds(yield* status())).toContain("ModeUnsuitable")
        const steps = yield* apply([{ table: "events" }])
        expect(steps[0]?.summary).toContain("mode row instead of statement")
        expect(yield* plan([{ table: "events" }])).toEqual([])
        yield* run("insert into events values ('eu', 1)")
        expect((yield* changes).at(-1)).toBe("events insert null")
      })
    )
  )

  it.effect("by the hundred are one plan and one transaction", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(
          "create table many (id int primary key) partition by range (id)",
          `do $$ begin
             for i in 0..299 loop
               execute format('create table many_%s partition of many for values from (%s) to (%s)', i, i * 10, i * 10 + 10);
             end loop;
           end $$`
        )
        expect(yield* apply([{ table: "many" }])).toHaveLength(1)
        // Four for statements, two for rows that move, one that never fires, and one before a statement that may move any.
        expect(yield* everywhere).toBe(301 * 4 + 301 * 3 + 1)
        expect(yield* plan([{ table: "many" }])).toEqual([])
      })
    )
  )
})

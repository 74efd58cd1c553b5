import { describe, expect, it } from "@effect/vitest"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as Capture from "../../../src/Capture.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import {
  apply,
  changes,
  finding,
  findingKinds,
  fresh,
  plan,
  run,
  schemaOwner,
  status,
  value
} from "../../support/capture.js"

const posts = "create table posts (id int primary key, title text, secret text, body text)"
const config = [{ table: "posts", exclude: ["body"], mask: ["secret"] }]

describe("Capture.status", () => {
  it.effect("finds nothing where nothing is wrong, and is data", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(posts)
        yield* apply(config)
        const statuses = yield* status(config)
        expect(statuses).toMatchObject([{ table: "public.posts", captured: true, findings: [] }])
        const encoded = yield* Schema.encode(Schema.parseJson(Schema.Array(Capture.TableStatus)))(statuses)
        expect(yield* Schema.decode(Schema.parseJson(Schema.Array(Capture.TableStatus)))(encoded)).toEqual(statuses)
        expect(statuses[0]?.policy?.appliedAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
      })
    )
  )

  it.effect("compares configuration with what is deployed", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(posts, "create table extra (id int primary key)", "create table missing (id int primary key)")
        yield* apply([...config, { table: "extra" }])
        const statuses = yield* status([
          { table: "posts", exclude: ["body"], mask: ["title"], truncate: "refuse" },
          { table: "missing" },
          { table: "not_there" }
        ])
        expect(statuses.map(({ captured, table }) => [table, captured])).toEqual([
          ["public.extra", true],
          ["public.missing", false],
          ["public.not_there", false],
          ["public.posts", true]
        ])
        expect(findingKinds(statuses, "public.extra")).toEqual(["NotConfigured"])
        expect(findingKinds(statuses, "public.missing")).toEqual(["NotCaptured"])
        expect(findingKinds(statuses, "public.not_there")).toEqual(["NotCaptured", "ConfigurationRefused"])
        expect(finding(statuses, "ConfigurationDiffers")).toMatchObject({
          severity: "error",
          detail: "configured: truncate refuse instead of event; mask title; no longer mask secret",
          fix: "restore the redaction, or allow less redaction, then threadline capture apply",
          mend: { _tag: "host", action: "allowLessRedaction", then: ["threadline", "capture", "apply"] },
          differences: [
            { _tag: "truncate", from: "event", to: "refuse" },
            { _tag: "mask", added: ["title"], removed: ["secret"] }
          ],
          subjects: ["truncate", "mask"]
        })
        // Without configuration there is nothing to compare.
        expect(findingKinds(yield* status())).toEqual([])
      })
    )
  )

  it.effect("gives commands that a shell reads as they are meant", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(`create table "it's ""odd""" (id int primary key)`)
        yield* apply([{ table: `"it's ""odd"""` }])
        yield* run(`drop table "it's ""odd"""`)
        expect(finding(yield* status(), "TableGone")?.fix).toBe(
          `threadline capture remove --table 'public."it'\\''s ""odd"""'`
        )
      })
    )
  )

  it.effect("sees columns come, go, change their type and their name", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table posts (id int primary key, a text, b text, c int)")
        yield* apply([{ table: "posts" }])
        yield* run(
          "alter table posts add d int, drop column a, alter c type bigint",
          "alter table posts rename b to bb"
        )
        const before = yield* status()
        expect(finding(before, "ColumnsChanged")).toMatchObject({
          severity: "warning",
          detail:
            "columns changed since its triggers were generated: d is new, a is gone, b is now bb, c has another type",
          subjects: ["d", "a", "bb", "c"]
        })
        expect(before[0]?.captured).toBe(true)
        yield* apply([{ table: "posts" }])
        expect(findingKinds(yield* status())).toEqual([])
      })
    )
  )

  it.effect("sees a change of a type that the table only refers to", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create type pair as (a int)", "create table pairs (id int primary key, p pair)")
        yield* apply([{ table: "pairs" }])
        yield* run("alter type pair add attribute at timestamptz")
        const before = yield* status()
        expect(finding(before, "ColumnsChanged")).toMatchObject({ subjects: ["p"] })
        expect(finding(before, "ValuesShownOtherwise")).toMatchObject({
          severity: "error",
          detail:
            "values of p have other texts, because types were altered or are new: public.pair; nothing is known of its rows since then",
          types: ["public.pair"],
          subjects: ["p"]
        })
        expect(yield* apply([{ table: "pairs" }])).toMatchObject([
          {
            kind: "regenerate",
            summary: "regenerate: other types of p; note the lapse since the table was last known"
          }
        ])
        expect(yield* plan([{ table: "pairs" }])).toEqual([])
        const sql = yield* SqlClient.SqlClient
        yield* sql.withTransaction(
          run("set local timezone = 'Asia/Kathmandu'", "insert into pairs values (1, row(1, '2024-01-01 00:00+00'))")
        )
        expect(yield* value("select data_after #>> '{p,at}' from threadline.audit_changes")).toBe(
          "2024-01-01T00:00:00+00:00"
        )
      })
    )
  )

  it.effect("sees redacted columns go, and that their new names are masked meanwhile", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(posts)
        yield* apply(config)
        yield* run("alter table posts rename secret to secret_2", "insert into posts values (1, 'a', 'b', 'c')")
        expect(finding(yield* status(), "RedactedColumnMissing")).toMatchObject({
          severity: "error",
          subjects: ["secret"]
        })
        expect(yield* value("select data_after ->> 'secret_2' from threadline.audit_changes")).toBe("[masked]")
      })
    )
  )

  it.effect("sees the key change", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(
          "create table moved (a int primary key, b int not null)",
          "create table declared (a int not null, b int)",
          "create unique index declared_a on declared (a)",
          "create table gained (a int not null)",
          "create table renamed (a int primary key)",
          "create table keyless (a int)"
        )
        yield* apply([
          { table: "moved" },
          { table: "declared", key: ["a"] },
          { table: "gained" },
          { table: "renamed" },
          { table: "keyless" }
        ])
        expect((yield* status()).map(({ table, findings }) => [table, findings.map(({ kind }) => kind)])).toEqual([
          ["public.declared", []],
          ["public.gained", ["NoKey"]],
          ["public.keyless", ["NoKey"]],
          ["public.moved", []],
          ["public.renamed", []]
        ])
        yield* run(
          "alter table moved drop constraint moved_pkey, add primary key (b)",
          "drop index declared_a",
          "alter table gained add primary key (a)",
          "alter table renamed rename a to z"
        )
        const statuses = yield* status()
        for (const [table, detail] of [
          ["declared", "no unique index covers exactly (a)"],
          ["gained", "its primary key is now (a), captured is none"],
          ["moved", "its primary key is now (b), captured is (a)"],
          ["renamed", "key columns are gone or renamed: a"]
        ]) {
          const of = statuses.filter((each) => each.table === `public.${table}`)
          expect(finding(of, "KeyChanged")).toMatchObject({ severity: "error", detail })
        }
        // A key is followed by the number of its column until then.
        yield* run("insert into renamed values (7)")
        expect(yield* changes).toEqual(["renamed insert 7"])
      })
    )
  )

  it.effect("sees triggers and functions dropped, disabled and altered", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(posts)
        yield* apply(config)
        const name = String(
          yield* value(
            "select tgfoid::regproc::text from pg_trigger where tgrelid = 'posts'::regclass and tgname = '0_threadline_insert'"
          )
        )
        for (const [damage, kind, subject] of [
          [`drop trigger "0_threadline_update" on posts`, "TriggerMissing", "0_threadline_update"],
          [`alter table posts disable trigger "0_threadline_insert"`, "TriggerDisabled", "0_threadline_insert"],
          [`alter table posts enable replica trigger "0_threadline_insert"`, "TriggerDisabled", "0_threadline_insert"],
          [
            `create or replace trigger "0_threadline_insert" after insert on posts
             referencing new table as threadline_new for each statement when (false) execute function ${name}()`,
            "TriggerAltered",
            "0_threadline_insert"
          ],
          [
            `create or replace function ${name}() returns trigger language plpgsql as $$ begin return null; end $$`,
            "FunctionAltered",
            name.split(".")[1]
          ],
          [`drop function ${name}() cascade`, "FunctionMissing", name.split(".")[1]]
        ] as const) {
          yield* run(damage)
          const statuses = yield* status(config)
          expect(finding(statuses, kind)).toMatchObject({ severity: "error", subjects: [subject] })
          expect(statuses[0]?.captured).toBe(kind === "FunctionAltered")
          yield* apply(config)
          expect(findingKinds(yield* status(config))).toEqual([])
        }
      })
    )
  )

  it.effect("sees a function that belongs to a superuser", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(posts)
        yield* apply(config)
        const name = String(
          yield* value("select tgfoid::regproc::text from pg_trigger where tgname = '0_threadline_insert'")
        )
        const superuser = String(yield* value("select current_user::text"))
        yield* run(`alter function ${name}() owner to ${superuser}`)
        expect(finding(yield* status(), "OwnerIsSuperuser")).toMatchObject({
          severity: "warning",
          subjects: [name.split(".")[1]],
          fix: "threadline capture apply --table public.posts --exclude public.posts.body --mask public.posts.secret"
        })
        expect(yield* apply(config)).toMatchObject([
          { kind: "repair", summary: `function ${name.split(".")[1]} owned by ${superuser}` }
        ])
        expect(findingKinds(yield* status())).toEqual([])
      })
    )
  )

  it.effect("sees that another version generated the triggers", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(posts)
        yield* apply(config)
        yield* run("update threadline.capture_policies set source_hash = 'of another version'")
        expect(findingKinds(yield* status())).toEqual(["SourceOutdated"])
        expect((yield* apply(config))[0]).toMatchObject({ kind: "regenerate", summary: "regenerate: the code differs" })
        expect(findingKinds(yield* status())).toEqual([])
      })
    )
  )

  it.effect("sees casts to json that were made afterwards", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create type mood as enum ('good')", "create table moods (id int primary key, mood mood)")
        yield* apply([{ table: "moods" }])
        yield* run(
          "create function mood_to_json(mood) returns json language sql as $$ select '1'::json $$",
          "create cast (mood as json) with function mood_to_json(mood)"
        )
        expect(finding(yield* status(), "HostCast")).toMatchObject({ severity: "error", subjects: ["public.mood"] })
      })
    )
  )

  it.effect("sees columns that are computed from redacted ones", () =>
    fresh(
      Effect.gen(function* () {
        const virtual = TestDatabase.serverVersion >= 18
        yield* run(
          `create table people (
            id int primary key, name text, secret text, hidden text,
            initial text generated always as (left(name, 1)) stored,
            both_texts text generated always as (name || upper(secret)) stored,
            "Copy" text generated always as (hidden) stored
            ${virtual ? ", seen text generated always as (lower(secret)) virtual" : ""}
          )`
        )
        const table = { table: "people", mask: ["secret"], exclude: ["hidden"] }
        yield* apply([table])
        const computed = (yield* status())
          .flatMap(({ findings }) => findings)
          .filter(({ kind }) => kind === "ComputedFromRedacted")
        expect(computed).toMatchObject([
          { severity: "warning", subjects: ["both_texts", "Copy"], from: ["secret", "hidden"], shown: true },
          ...(virtual ? [{ severity: "info", subjects: ["seen"], from: ["secret"], shown: false }] : [])
        ])
        yield* run("insert into people (id, name, secret, hidden) values (1, 'ann', 'pin', 'none')")
        expect(yield* value("select data_after ->> 'both_texts' from threadline.audit_changes")).toBe("annPIN")
        // A key cannot be redacted.
        yield* run("create table hashed (secret text, id text primary key generated always as (upper(secret)) stored)")
        const hashed = [{ table: "hashed", mask: ["secret"] }]
        yield* apply(hashed)
        expect(finding(yield* status(hashed), "ComputedFromRedacted")).toMatchObject({
          severity: "warning",
          subjects: ["id"],
          mend: { _tag: "host", action: "keyUncomputed", names: ["id"] }
        })
        yield* Capture.remove(["hashed"])
        yield* apply([{ ...table, mask: ["secret", "both_texts"], exclude: ["hidden", "Copy"] }])
        expect(findingKinds(yield* status())).toEqual(virtual ? ["ComputedFromRedacted"] : [])
        yield* run("update people set name = 'bob', secret = 'pun'")
        expect(yield* value("select data_after::text from threadline.audit_changes order by id desc limit 1")).toBe(
          '{"id": 1, "name": "bob", "secret": "[masked]", "initial": "b", "both_texts": "[masked]"}'
        )
      })
    )
  )

  it.effect("sees inheritance: children that are not captured, and statement mode that no longer works", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table parent (id int primary key)")
        yield* apply([{ table: "parent" }])
        yield* run("create table child () inherits (parent)")
        expect(findingKinds(yield* status())).toEqual(["ModeUnsuitable", "ChildNotCaptured"])
        yield* apply([{ table: "parent" }, { table: "child" }])
        expect(findingKinds(yield* status())).toEqual(["NoKey"])
      })
    )
  )

  it.effect("sees who may replace its triggers without owning the table", () =>
    fresh(
      Effect.gen(function* () {
        const role = `Replacing ${String(yield* value("select gen_random_uuid()"))}`
        yield* run(
          "create table trusted (id int primary key)",
          "create table opened (id int, day date, primary key (id, day)) partition by list (day)",
          "create table opened_a partition of opened for values in ('2026-11-22')",
          `create role "${role}"`,
          `grant all on trusted, opened_a to "${role}"`,
          `revoke trigger on trusted from "${role}"`,
          "grant trigger on opened to public"
        )
        yield* Effect.addFinalizer(() => Effect.orDie(run(`drop owned by "${role}"`, `drop role "${role}"`)))
        yield* apply([{ table: "trusted" }, { table: "opened" }])
        const statuses = yield* status()
        expect(findingKinds(statuses, "public.trusted")).toEqual([])
        const seen = finding(statuses, "TriggerReplaceable")
        expect(seen).toMatchObject({ severity: "warning", table: "public.opened", subjects: ["public", `"${role}"`] })
        yield* run(seen?.fix ?? "")
        expect(findingKinds(yield* status(), "public.opened")).toEqual([])
      }).pipe(Effect.scoped)
    )
  )

  it.effect("mentions row triggers of the host's", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(
          posts,
          "create function touch() returns trigger language plpgsql as $$ begin return null; end $$",
          "create trigger touch after update on posts for each row execute function touch()",
          "create trigger early before update on posts for each row execute function touch()",
          "create trigger whole after update on posts execute function touch()"
        )
        yield* apply(config)
        expect(finding(yield* status(), "HostRowTrigger")).toMatchObject({ severity: "info", subjects: ["touch"] })
        // Foreign keys have triggers, too, and partitions have copies of them.
        yield* run(
          "create table owners (id int primary key) partition by range (id)",
          "create table owners_1 partition of owners for values from (0) to (10)",
          "create table cars (id int primary key, owner int references owners) partition by range (id)",
          "create table cars_1 partition of cars for values from (0) to (10)"
        )
        const partitioned = [{ table: "owners" }, { table: "cars" }]
        yield* apply(partitioned)
        yield* Capture.remove(["posts"])
        expect(findingKinds(yield* status(partitioned))).not.toContain("HostRowTrigger")
        yield* run("create trigger touch after update on cars for each row execute function touch()")
        expect(finding(yield* status(partitioned), "HostRowTrigger")).toMatchObject({ subjects: ["touch"] })
      })
    )
  )

  it.effect("sees that the rows of TRUNCATE cannot be read", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(posts)
        yield* apply(config)
        const owner = yield* schemaOwner
        yield* run(`revoke select on posts from ${owner}`)
        expect(finding(yield* status(), "TruncateUnreadable")).toMatchObject({ severity: "warning" })
        expect(Either.isRight(yield* Effect.either(run("truncate posts")))).toBe(true)
        expect((yield* apply(config))[0]).toMatchObject({ kind: "repair" })
        expect(findingKinds(yield* status())).toEqual([])
      })
    )
  )

  it.effect("leaves out what is no longer captured", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(posts)
        yield* apply(config)
        yield* Effect.flatMap(Capture.Capture, (capture) => capture.remove(["posts"]))
        expect(yield* status()).toEqual([])
        expect(findingKinds(yield* status(config))).toEqual(["NotCaptured"])
      })
    )
  )
})

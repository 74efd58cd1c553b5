import { describe, expect, it } from "@effect/vitest"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import type * as Capture from "../../../src/Capture.js"
import { InvalidRequest } from "../../../src/ThreadlineError.js"
import { apply, as, layer, plan, refusal, remove, rows, run, schemaOwner, value } from "../../support/capture.js"
import * as Grants from "../../../src/Grants.js"
import * as TestDatabase from "../../harness/TestDatabase.js"

it.layer(layer)("Capture refuses", (it) => {
  describe("names:", () => {
    it.effect("a table that does not exist, with the one that was probably meant", () =>
      Effect.gen(function* () {
        yield* run(
          "create table customers (id int primary key)",
          "create schema billing",
          "create table billing.bills (id int)"
        )
        const error = yield* refusal(plan([{ table: "customer" }]))
        expect(error).toMatchObject({ reason: "UnknownTable", table: "public.customer" })
        expect(error.hint).toBe("did you mean public.customers?")
        expect((yield* refusal(plan([{ table: "Billing.bils" }]))).hint).toBe("did you mean billing.bills?")
        expect((yield* refusal(plan([{ table: "nothing_like_it_at_all" }]))).hint).toContain("name it as in SQL")
      })
    )

    it.effect("names that are not names", () =>
      Effect.gen(function* () {
        const failed = yield* Effect.flip(plan([{ table: "a" }, { table: "b.c.d" }]))
        expect(InvalidRequest.is(failed) && failed.field).toBe("tables[1].table")
      })
    )

    it.effect("options that do not exist, so that a misspelt one is not lost", () =>
      Effect.gen(function* () {
        yield* run("create table misspelt (id int primary key, secret text)")
        const config: Capture.TableConfig = JSON.parse(`{ "table": "misspelt", "masks": ["secret"] }`)
        const failed = yield* Effect.flip(plan([config]))
        expect(InvalidRequest.is(failed) && failed.field).toBe("tables[0].masks")
      })
    )

    it.effect("a table named twice, however it is written", () =>
      Effect.gen(function* () {
        yield* run("create table twice (id int primary key)")
        const error = yield* refusal(plan([{ table: "twice" }, { table: `PUBLIC."twice"` }]))
        expect(error).toMatchObject({ reason: "DuplicateTable", table: "public.twice" })
      })
    )
  })

  describe("kinds:", () => {
    it.effect("Threadline's own tables and PostgreSQL's", () =>
      Effect.gen(function* () {
        expect(yield* refusal(plan([{ table: "threadline.audit_changes" }]))).toMatchObject({ reason: "OwnTable" })
        expect(yield* refusal(plan([{ table: "pg_catalog.pg_class" }]))).toMatchObject({ reason: "SystemTable" })
        expect(yield* refusal(plan([{ table: "information_schema.sql_features" }]))).toMatchObject({
          reason: "SystemTable"
        })
      })
    )

    it.effect("views, materialized views, sequences and composite types, saying which", () =>
      Effect.gen(function* () {
        yield* run(
          "create table under_views (id int primary key)",
          "create view a_view as select * from under_views",
          "create materialized view a_matview as select * from under_views",
          "create sequence a_sequence",
          "create type a_composite as (a int)"
        )
        for (const [table, word] of [
          ["a_view", "a view"],
          ["a_matview", "a materialized view"],
          ["a_sequence", "a sequence"],
          ["a_composite", "a composite type"],
          ["under_views_pkey", "an index"]
        ] as const) {
          const error = yield* refusal(plan([{ table }]))
          expect(error.reason).toBe("NotATable")
          expect(error.detail).toBe(`it is ${word}`)
        }
      })
    )

    it.effect("temporary tables", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        // The schema of temporary tables is named after the session.
        const error = yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`create temporary table short_lived (id int primary key)`
            const [row] = yield* sql<{ name: string }>`
              select quote_ident(nspname) || '.short_lived' as name from pg_namespace where oid = pg_my_temp_schema()`
            return yield* refusal(plan([{ table: row?.name ?? "" }]))
          })
        )
        expect(error).toMatchObject({ reason: "TemporaryTable" })
      })
    )

    it.effect("a partition, naming the root of the whole tree", () =>
      Effect.gen(function* () {
        yield* run(
          "create table tree (id int, at date) partition by range (at)",
          "create table tree_2024 partition of tree for values from ('2024-01-01') to ('2025-01-01') partition by range (at)",
          "create table tree_2024_01 partition of tree_2024 for values from ('2024-01-01') to ('2024-02-01')"
        )
        const error = yield* refusal(plan([{ table: "tree_2024_01" }]))
        expect(error).toMatchObject({ reason: "PartitionNamed" })
        expect(error.hint).toContain("public.tree:")
      })
    )
  })

  describe("columns:", () => {
    it.effect("unknown columns in exclude, mask and key, with the one that was probably meant", () =>
      Effect.gen(function* () {
        yield* run(`create table people (id int not null, "Password" text, email text)`)
        for (const [config, hint] of [
          [{ table: "people", exclude: ["password"] }, "did you mean Password?"],
          [{ table: "people", mask: ["e_mail"] }, "did you mean email?"],
          [{ table: "people", key: ["idd"] }, "did you mean id?"],
          [{ table: "people", mask: ["quite_another"] }, "columns are given by their exact names"]
        ] as const) {
          const error = yield* refusal(plan([config]))
          expect(error.reason).toBe("UnknownColumn")
          expect(error.hint).toBe(hint)
        }
      })
    )

    it.effect("a system column, and a column that was dropped", () =>
      Effect.gen(function* () {
        yield* run(
          "create table has_dropped (id int primary key, gone text)",
          "alter table has_dropped drop column gone"
        )
        expect(yield* refusal(plan([{ table: "has_dropped", mask: ["gone"] }]))).toMatchObject({
          reason: "UnknownColumn"
        })
        expect(yield* refusal(plan([{ table: "has_dropped", mask: ["ctid"] }]))).toMatchObject({
          reason: "UnknownColumn"
        })
      })
    )

    it.effect("redacted key columns, of a primary key or a declared one", () =>
      Effect.gen(function* () {
        yield* run(
          "create table keyed (a int, b text, primary key (a, b))",
          "create table declared (a int not null unique, b text)"
        )
        for (const config of [
          { table: "keyed", exclude: ["b"] },
          { table: "keyed", mask: ["a"] },
          { table: "declared", key: ["a"], mask: ["a"] }
        ] as const) {
          expect(yield* refusal(plan([config]))).toMatchObject({ reason: "KeyRedacted" })
        }
        expect(yield* plan([{ table: "declared", mask: ["a"] }])).toHaveLength(1)
      })
    )

    it.effect("a column both excluded and masked", () =>
      Effect.gen(function* () {
        yield* run("create table doubly (id int primary key, a text)")
        expect(yield* refusal(plan([{ table: "doubly", exclude: ["a"], mask: ["a"] }]))).toMatchObject({
          reason: "ExcludedAndMasked"
        })
      })
    )

    it.effect("a key other than the primary key, be it only the order", () =>
      Effect.gen(function* () {
        yield* run("create table has_pk (a int, b int, c int not null unique, primary key (b, a))")
        expect(yield* refusal(plan([{ table: "has_pk", key: ["c"] }]))).toMatchObject({ reason: "KeyDiffers" })
        expect(yield* refusal(plan([{ table: "has_pk", key: ["a", "b"] }]))).toMatchObject({ reason: "KeyDiffers" })
        expect(yield* plan([{ table: "has_pk", key: ["b", "a"] }])).toHaveLength(1)
      })
    )

    for (const [what, definition, index, detail] of [
      ["no index at all", "a int not null, b int not null", undefined, "no unique index covers exactly (a, b)"],
      [
        "an index over more",
        "a int not null, b int not null, c int",
        "unique index on t (a, b, c)",
        "no unique index covers"
      ],
      ["an index over less", "a int not null, b int not null", "unique index on t (a)", "no unique index covers"],
      [
        "an index with a predicate",
        "a int not null, b int not null",
        "unique index on t (a, b) where a > 0",
        "does not identify"
      ],
      [
        "an index with an expression",
        "a int not null, b int not null",
        "unique index on t (a, (b + 1))",
        "no unique index covers"
      ],
      ["an index that is not unique", "a int not null, b int not null", "index on t (a, b)", "does not identify"],
      ["a nullable column", "a int not null, b int", "unique index on t (a, b)", "may be null in b"],
      [
        "a deferrable constraint",
        "a int not null, b int not null, unique (a, b) deferrable",
        undefined,
        "does not identify"
      ]
    ] as const) {
      it.effect(`a declared key with ${what}`, () =>
        Effect.gen(function* () {
          yield* run("drop table if exists t", `create table t (${definition})`)
          if (index !== undefined) {
            yield* run(`create ${index}`)
          }
          const error = yield* refusal(plan([{ table: "t", key: ["a", "b"] }]))
          expect(error.reason).toBe("KeyUnusable")
          expect(error.detail).toContain(detail)
        })
      )
    }

    it.effect("a declared key over an index that was not built to its end", () =>
      Effect.gen(function* () {
        yield* run("create table half_built (a int not null)", "insert into half_built values (1), (1)")
        const sql = yield* SqlClient.SqlClient
        yield* Effect.flip(sql`create unique index concurrently half_built_a on half_built (a)`)
        const error = yield* refusal(plan([{ table: "half_built", key: ["a"] }]))
        expect(error).toMatchObject({ reason: "KeyUnusable" })
        expect(error.detail).toContain("half_built_a")
      })
    )
  })

  describe("types with a cast to json,", () => {
    const create = (name: string, type: string) =>
      run(
        type,
        `create function ${name}_to_json(${name}) returns json language sql as $$ select '{}'::json $$`,
        `create cast (${name} as json) with function ${name}_to_json(${name})`
      )

    it.effect("unless acknowledged, also in arrays, domains and composites", () =>
      Effect.gen(function* () {
        yield* create("mood", "create type mood as enum ('good', 'bad')")
        yield* run(
          "create domain steady_mood as mood",
          "create type two_moods as (a int, b mood[])",
          "create table plain_cast (id int primary key, m mood)",
          "create table array_cast (id int primary key, m mood[])",
          "create table domain_cast (id int primary key, m steady_mood)",
          "create table composite_cast (id int primary key, m two_moods[])"
        )
        for (const table of ["plain_cast", "array_cast", "domain_cast", "composite_cast"]) {
          const error = yield* refusal(plan([{ table }]))
          expect(error.reason).toBe("HostCast")
          expect(error.detail).toContain("column m: type public.mood")
          expect(yield* refusal(plan([{ table, exclude: ["m"] }]))).toMatchObject({ reason: "HostCast" })
          expect(yield* plan([{ table, acknowledgeCasts: true }])).toHaveLength(1)
        }
      })
    )

    it.effect("but not where to_jsonb never calls them: composites, and casts to jsonb", () =>
      Effect.gen(function* () {
        yield* run(
          "create function shouted() returns boolean language sql as $$ select true $$",
          "create type pair as (a int, b int)",
          "create function pair_to_json(pair) returns json language plpgsql as $$ begin raise exception 'called'; end $$",
          "create cast (pair as json) with function pair_to_json(pair)",
          "create type colour as enum ('red')",
          "create function colour_to_jsonb(colour) returns jsonb language plpgsql as $$ begin raise exception 'called'; end $$",
          "create cast (colour as jsonb) with function colour_to_jsonb(colour)",
          "create table harmless (id int primary key, p pair, c colour)"
        )
        expect(yield* apply([{ table: "harmless" }])).toHaveLength(1)
        yield* run("insert into harmless values (1, (1, 2), 'red')")
        expect(
          yield* value("select data_after ->> 'c' from threadline.audit_changes where table_name = 'harmless'")
        ).toBe("red")
      })
    )

    it.effect("and not those that came with an extension written in C", () =>
      Effect.gen(function* () {
        if ((yield* rows("select from pg_available_extensions where name = 'hstore'")).length === 0) {
          return expect(yield* value("select count(*)::int from pg_extension where extname = 'hstore'")).toBe(0)
        }
        yield* run("create extension hstore", "create table tagged (id int primary key, tags hstore)")
        expect(yield* apply([{ table: "tagged" }])).toHaveLength(1)
        yield* run(`insert into tagged values (1, 'a=>1')`)
        expect(
          yield* value("select data_after ->> 'tags' from threadline.audit_changes where table_name = 'tagged'")
        ).toBe(`{"a": "1"}`)
      })
    )
  })

  describe("modes:", () => {
    it.effect("statement mode where it cannot work, and takes row mode where none is given", () =>
      Effect.gen(function* () {
        yield* run(
          "create foreign data wrapper nothing",
          "create server nowhere foreign data wrapper nothing",
          "create foreign table far (id int) server nowhere",
          "create table parent (id int primary key)",
          "create table child (extra text) inherits (parent)",
          "create table mixed (id int) partition by list (id)",
          "create foreign table mixed_far partition of mixed for values in (1) server nowhere",
          "create table steady (id int primary key)"
        )
        for (const [config, why] of [
          [{ table: "far" }, "it is a foreign table"],
          [{ table: "parent" }, "other tables inherit from it"],
          [{ table: "child" }, "it inherits from another table"],
          [{ table: "mixed" }, "its partition public.mixed_far is a foreign table"],
          [{ table: "steady", always: true }, "captured always"]
        ] as const) {
          const error = yield* refusal(plan([{ ...config, mode: "statement" }]))
          expect(error.reason).toBe("ModeUnsupported")
          expect(error.detail).toContain(why)
          const [step] = yield* plan([config])
          expect(step?.summary).toContain("capture by row triggers")
        }
        const [step] = yield* plan([{ table: "steady" }])
        expect(step?.summary).toContain("capture by statement triggers")
      })
    )

    it.effect("keeping the rows of TRUNCATE on foreign tables and under row level security", () =>
      Effect.gen(function* () {
        yield* run(
          "create table secured (id int primary key)",
          "alter table secured enable row level security",
          "create foreign table far_rows (id int) server nowhere"
        )
        for (const table of ["secured", "far_rows"]) {
          expect(yield* refusal(plan([{ table, truncate: "rows" }]))).toMatchObject({ reason: "TruncateUnsupported" })
          expect(yield* plan([{ table, truncate: "refuse" }])).toHaveLength(1)
        }
      })
    )
  })

  describe("what is there already:", () => {
    it.effect("a trigger of the host's under a name that is needed", () =>
      Effect.gen(function* () {
        yield* run(
          "create table taken (id int primary key)",
          "create function public.nothing() returns trigger language plpgsql as $$ begin return null; end $$",
          `create trigger "0_threadline_insert" after insert on taken for each row execute function public.nothing()`
        )
        const error = yield* refusal(plan([{ table: "taken" }]))
        expect(error).toMatchObject({ reason: "NameCollision" })
        expect(error.detail).toContain("0_threadline_insert")
      })
    )

    it.effect("removing what is not captured, and then removes nothing", () =>
      Effect.gen(function* () {
        yield* run("create table stays (id int primary key)")
        yield* apply([{ table: "stays" }])
        const error = yield* refusal(remove("stays", "stay"))
        expect(error).toMatchObject({ reason: "NotCaptured", table: "public.stay", hint: "did you mean public.stays?" })
        expect(
          yield* value(
            "select count(*)::int from threadline.capture_policies where table_name = 'stays' and removed_at is null"
          )
        ).toBe(1)
      })
    )

    it.effect("applying and removing inside a transaction, where locks would be held too long", () =>
      Effect.gen(function* () {
        yield* run("create table inside (id int primary key)")
        const sql = yield* SqlClient.SqlClient
        expect(yield* refusal(sql.withTransaction(apply([{ table: "inside" }])))).toMatchObject({
          reason: "InsideTransaction"
        })
        expect(yield* refusal(sql.withTransaction(remove("inside")))).toMatchObject({ reason: "InsideTransaction" })
      })
    )

    it.effect("everything before anything is changed", () =>
      Effect.gen(function* () {
        yield* run("create table fine (id int primary key)")
        expect(yield* refusal(apply([{ table: "fine" }, { table: "not_there" }]))).toMatchObject({
          reason: "UnknownTable"
        })
        expect(yield* rows("select from pg_trigger where tgrelid = 'fine'::regclass")).toHaveLength(0)
      })
    )
  })
})

it.layer(layer)("privileges that capture needs", (it) => {
  it.scoped("are told apart, and are enough when granted", () =>
    Effect.gen(function* () {
      const database = yield* TestDatabase.TestDatabase
      const owner = yield* database.ownOwner
      const deployer = yield* database.role("deployer")
      yield* run(
        "create table owned (id int primary key)",
        "create schema apart",
        "create table apart.hidden (id int primary key)",
        `grant select on all tables in schema threadline to ${deployer.name}`,
        `grant usage on schema threadline to ${deployer.name}`
      )
      const { capture } = yield* as("deployer")
      const attempt = refusal(capture.apply([{ table: "owned" }]))

      const first = yield* attempt
      expect(first).toMatchObject({ reason: "InsufficientPrivilege" })
      expect(first.hint).toBe(`grant ${owner} to ${deployer.name}`)

      yield* run(`grant ${owner} to ${deployer.name}`)
      const second = yield* attempt
      expect(second).toMatchObject({ reason: "InsufficientPrivilege" })
      expect(second.detail).toContain("may not create triggers on public.owned")

      yield* run(`grant trigger on owned to ${deployer.name}`)
      expect(yield* capture.apply([{ table: "owned" }])).toHaveLength(1)
      expect(
        yield* rows(
          `select distinct proowner::regrole::text as owner from pg_proc
           where pronamespace = 'threadline'::regnamespace and proname like 'capture_%_owned_%'`
        )
      ).toEqual([{ owner: owner }])

      const third = yield* refusal(capture.apply([{ table: "owned", always: true }]))
      expect(third.reason).toBe("InsufficientPrivilege")
      expect(third.detail).toContain("does not own public.owned")
      expect((yield* refusal(capture.remove(["owned"]))).detail).toContain("does not own public.owned")

      yield* run(`alter table owned owner to ${deployer.name}`)
      expect(yield* capture.apply([{ table: "owned", always: true }])).not.toHaveLength(0)
      expect(yield* capture.remove(["owned"])).toHaveLength(1)
    })
  )

  it.scoped("let the schema's owner read what TRUNCATE removes, where the role may give that right", () =>
    Effect.gen(function* () {
      const database = yield* TestDatabase.TestDatabase
      const owner = yield* schemaOwner
      const deployer = yield* database.role("deployer")
      yield* run(
        "create table apart.kept (id int primary key)",
        "insert into apart.kept values (1), (2)",
        `grant usage on schema apart to ${deployer.name}`,
        `grant trigger on apart.kept to ${deployer.name}`
      )
      const { capture } = yield* as("deployer")
      const error = yield* refusal(capture.apply([{ table: "apart.kept", truncate: "rows" }]))
      expect(error).toMatchObject({ reason: "InsufficientPrivilege" })
      expect(error.hint).toContain(owner)

      yield* run(
        `grant select on apart.kept to ${deployer.name} with grant option`,
        `grant usage on schema apart to ${deployer.name} with grant option`
      )
      expect(yield* capture.apply([{ table: "apart.kept", truncate: "rows" }])).toHaveLength(1)
      yield* run("truncate apart.kept")
      expect(
        yield* value(
          "select string_agg(row_key, ',' order by id) from threadline.audit_changes where table_name = 'kept'"
        )
      ).toBe("1,2")
    })
  )

  it.scoped("must be inherited from the schema's owner", () =>
    Effect.gen(function* () {
      const database = yield* TestDatabase.TestDatabase
      const owner = yield* schemaOwner
      const aloof = yield* database.role("aloof", "noinherit")
      yield* run(
        `grant ${owner} to ${aloof.name}`,
        `grant select on all tables in schema threadline to ${aloof.name}`,
        `grant usage on schema threadline to ${aloof.name}`,
        "create table aloof (id int primary key)",
        `alter table aloof owner to ${aloof.name}`
      )
      const { capture } = yield* as("aloof")
      const error = yield* refusal(capture.apply([{ table: "aloof" }]))
      expect(error).toMatchObject({ reason: "InsufficientPrivilege" })
      expect(error.detail).toContain("does not inherit")
    })
  )

  it.scoped("of a reader are enough to plan, to print and for the status; who has none is told how to get them", () =>
    Effect.gen(function* () {
      const database = yield* TestDatabase.TestDatabase
      const owner = yield* schemaOwner
      const stranger = yield* database.role("stranger")
      const { capture } = yield* as("stranger")
      const looks = [capture.plan([{ table: "aloof" }]), capture.print([{ table: "aloof" }]), capture.status()]
      for (const look of looks) {
        expect(yield* refusal<unknown, Capture.Failure, never>(look)).toEqual({
          reason: "InsufficientPrivilege",
          detail: `role ${stranger.name} may not read the record, which belongs to ${owner}`,
          hint: `threadline grant --reader ${stranger.name}`,
          table: "*"
        })
      }
      // A reader can see what to do, and still may not do it.
      yield* Grants.apply({ readers: [stranger.name] })
      for (const look of looks) {
        yield* look
      }
      expect((yield* refusal(capture.apply([{ table: "aloof" }]))).detail).toContain("may not act as")
    })
  )
})

/** Every finding that the library knows is found by a test, and its mend, run word for word, ends it. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Health from "../../src/Health.js"
import * as Cli from "../support/cli.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { scratch } from "../support/scratch.js"

Cli.setup()

type Code = Health.Code

/** Codes whose tests need a server, a role or a history of their own. */
const elsewhere: { readonly [K in Code]?: string } = {
  CanaryUnknown: "test/db/health/coverage.test.ts",
  NameFollowed: "test/adversarial/formerNames.test.ts",
  OwnerHasMembers: "test/adversarial/standing.test.ts",
  OwnerIsApplication: "test/db/health/coverage.test.ts",
  ReplicaAllowed: "test/deep/replicaAllowed.test.ts",
  SchemaVersion: "test/db/health/coverage.test.ts",
  TruncateUnseen: "test/adversarial/truncate.test.ts",
  Unknown: "test/db/health/coverage.test.ts",
  WatchFailed: "test/adversarial/watch.test.ts"
}

interface Config {
  readonly [option: string]: unknown
}

/** One table and what is done to it. `first` and `then` are its configurations before and after that, `mended` the one of the mend. */
interface Case {
  readonly code: Code
  readonly setup?: string
  readonly damage?: string
  readonly first?: Config | null
  readonly then?: Config | null
  readonly mended?: Config | null
  /** What the configuration of the mend names beside it. */
  readonly adds?: string
  /** What the host does itself, if the mend says that it has to. */
  readonly host?: string
  /** It is good to know, and stays. */
  readonly stays?: true
  readonly gap?: string
  readonly expected?: true
}

const triggerFunction = (table: string, operation: string): string => `
  (select p.oid::regprocedure::text from pg_trigger t join pg_proc p on p.oid = t.tgfoid
   where t.tgrelid = '${table}'::regclass and t.tgname = '0_threadline_${operation}')`

const cases: ReadonlyArray<Case> = [
  { code: "NotCaptured", first: null, then: {} },
  { code: "NotConfigured", then: null },
  { code: "ConfigurationRefused", then: { mask: ["nope"] }, mended: {} },
  { code: "ConfigurationDiffers", then: { mask: ["v"] } },
  { code: "TableGone", damage: "drop table %", then: null },
  { code: "TableRenamed", damage: "alter table % rename to %_2", then: null, mended: null, adds: "%_2" },
  { code: "ColumnsChanged", damage: "alter table % add w int" },
  { code: "KeyChanged", damage: "alter table % drop constraint %_pkey; alter table % add primary key (n)" },
  {
    code: "KeyValuesRenamed",
    setup: "create type %_mood as enum ('good'); create table % (id %_mood primary key)",
    damage: "alter type %_mood rename value 'good' to 'well'"
  },
  {
    code: "ValuesShownOtherwise",
    setup: "create type %_mood as enum ('good'); create table % (id int primary key, m %_mood)",
    damage: "alter type %_mood rename value 'good' to 'well'"
  },
  { code: "NoKey", setup: "create table % (id int not null)", host: "alter table % add primary key (id)" },
  { code: "RedactedColumnMissing", first: { mask: ["v"] }, damage: "alter table % drop v", mended: {} },
  {
    code: "ComputedFromRedacted",
    setup: "create table % (id int primary key, v text, w text generated always as (upper(v)) stored)",
    first: { mask: ["v"] },
    mended: { mask: ["v", "w"] }
  },
  {
    code: "SourceOutdated",
    damage: "update threadline.capture_policies set source_hash = 'of another version' where table_name = '%'"
  },
  { code: "FunctionMissing", damage: "do $$ begin execute 'drop function ' || @insert || ' cascade'; end $$" },
  {
    code: "FunctionAltered",
    damage: `do $$ begin
      execute 'create or replace function ' || @insert || ' returns trigger language plpgsql as ''begin return null; end''';
    end $$`
  },
  { code: "TriggerMissing", damage: `drop trigger "0_threadline_update" on %` },
  { code: "TriggerDisabled", damage: `alter table % disable trigger "0_threadline_insert"` },
  {
    code: "TriggerAltered",
    damage: `do $$ begin
      execute 'create or replace trigger "0_threadline_insert" after insert on % referencing new table as threadline_new
        for each statement when (false) execute function ' || @insert;
    end $$`
  },
  { code: "TriggerReplaceable", damage: "grant trigger on % to public" },
  {
    code: "OwnerIsSuperuser",
    damage: "do $$ begin execute 'alter function ' || @insert || ' owner to postgres'; end $$"
  },
  {
    code: "AlteredMeanwhile",
    damage: `insert into % values (1, 'a', 1); alter table % drop constraint %_pkey; update % set id = 2 where false;
      insert into % values (1, 'x', 1); delete from % where v = 'a'; alter table % add primary key (id)`
  },
  {
    code: "IdentityChanged",
    damage: "update threadline.capture_policies set relation = 1, database = 'elsewhere' where table_name = '%'"
  },
  {
    code: "PartitionReplaced",
    setup: `create table % (id int primary key, v text) partition by range (id);
      create table %_1 partition of % for values from (0) to (10)`,
    damage: `insert into % values (1, 'a'); alter table % detach partition %_1; set session_replication_role = replica;
      update %_1 set v = 'unseen'; reset session_replication_role; alter table % attach partition %_1 for values from (0) to (10)`
  },
  {
    code: "TriggersElsewhere",
    damage: `create table %_clone (like % including all); do $$ declare d text; begin
      for d in select replace(pg_get_triggerdef(oid), 'public.%', 'public.%_clone') from pg_trigger where tgrelid = '%'::regclass loop
        execute d;
      end loop; end $$`,
    adds: "%_clone"
  },
  {
    code: "PartitionAttached",
    setup: "create table % (id int primary key) partition by range (id)",
    damage: "create table %_1 partition of % for values from (0) to (10)"
  },
  {
    code: "PartitionDetached",
    setup:
      "create table % (id int primary key) partition by range (id); create table %_1 partition of % for values from (0) to (10)",
    damage: "alter table % detach partition %_1"
  },
  {
    code: "TableReplaced",
    setup: "create table % (id int primary key); create table %_2 (id int primary key)",
    damage: "begin; alter table % rename to %_old; alter table %_2 rename to %; drop table %_old; commit"
  },
  { code: "RowsRewritten", damage: "insert into % values (1, 'a', 1); alter table % alter n type bigint using n + 1" },
  {
    code: "ChildNotCaptured",
    damage: "create table %_child () inherits (%); alter table %_child add primary key (id)",
    adds: "%_child"
  },
  {
    code: "RootNotCaptured",
    damage: `create table %_root (like % including all) partition by range (id);
      alter table %_root attach partition % for values from (minvalue) to (maxvalue)`,
    mended: null,
    adds: "%_root"
  },
  { code: "ModeUnsuitable", damage: "create table %_child () inherits (%)" },
  {
    code: "HostCast",
    setup: "create type %_t as enum ('a'); create table % (id int primary key, m %_t)",
    damage: `create function %_to_json(%_t) returns json language sql as $$ select '1'::json $$;
      create cast (%_t as json) with function %_to_json(%_t)`,
    host: "drop cast (%_t as json)"
  },
  {
    code: "HostRowTrigger",
    damage: `create function %_touch() returns trigger language plpgsql as $$ begin return null; end $$;
      create trigger touch after update on % for each row execute function %_touch()`,
    stays: true
  },
  { code: "TruncateUnreadable", damage: "do $$ begin execute 'revoke select on % from ' || @owner; end $$" },
  { code: "TableUnlogged", damage: "alter table % set unlogged", host: "alter table % set logged" },
  { code: "TableUncovered", first: null, then: null, expected: true },
  {
    code: "TableUnknown",
    first: null,
    then: null,
    setup: "select 1",
    expected: true,
    host: "create table % (id int primary key)"
  },
  { code: "GapCovered", gap: "rebuilt each night" },
  {
    code: "SensitiveInClear",
    setup: "create table % (id int primary key, api_key text)",
    mended: { mask: ["api_key"] }
  },
  {
    code: "SubscriptionUnseen",
    damage: `insert into pg_subscription_rel (srsubid, srrelid, srsubstate) values (1, '%'::regclass, 'r')`,
    mended: { always: true }
  }
]

const tableOf = ({ code }: Case): string => `t_${code.toLowerCase()}`

const Report = Schema.Struct({ findings: Schema.Array(Health.Finding) })
const decode = Schema.decodeUnknownSync(Report)

const seen = new Set<Code>()

const isCode = Schema.is(Health.Code)
const knownCodes = AST.isUnion(Health.Code.ast)
  ? Health.Code.ast.types.flatMap((type) => (AST.isLiteral(type) && isCode(type.literal) ? [type.literal] : []))
  : []

const host = Effect.gen(function* () {
  const database = yield* TestDatabase.make()
  const raw = yield* database.rawClient()
  return { database, query: (text: string) => Effect.promise(() => raw.query(text)), url: database.url }
})

const findingsOf = (at: Cli.RunOptions, ...words: ReadonlyArray<string>) =>
  Effect.map(Cli.json(["health", ...words], at), (document) => {
    const { findings } = decode(document)
    findings.forEach(({ code }) => seen.add(code))
    return findings
  })

/** What a finding must have, whatever it is. */
const isComplete = ({ fix, mend, message, object, severity }: Health.Finding): boolean =>
  object !== "" &&
  message !== "" &&
  ["error", "warning", "info"].includes(severity) &&
  (mend === null) === (fix === null)

describe("findings", () => {
  it.scoped("of tables are found, and end when their mends are run", () =>
    Effect.gen(function* () {
      const { database, query, url } = yield* host
      const filled = (text: string, one: Case): string =>
        text
          .replaceAll("%", tableOf(one))
          .replaceAll("@insert", triggerFunction(tableOf(one), "insert"))
          .replaceAll("@owner", `'${database.ownerRole}'`)
      const configuration = (which: "first" | "then" | "mended") => {
        const latest = { first: ["first"], then: ["then", "first"], mended: ["mended", "then", "first"] } as const
        const of = (one: Case) => latest[which].map((each) => one[each]).find((config) => config !== undefined)
        const expected = { expected: cases.filter((one) => one.expected).map(tableOf) }
        const gaps = cases.flatMap((one) => (one.gap === undefined ? [] : [[tableOf(one), one.gap]]))
        return JSON.stringify({
          tables: Object.fromEntries(
            cases.flatMap((one) => {
              const config = of(one)
              return [
                ...(config === null ? [] : [[tableOf(one), config ?? {}] as const]),
                ...(which === "mended" && one.adds !== undefined ? [[filled(one.adds, one), {}] as const] : [])
              ]
            })
          ),
          ...(which === "first" ? {} : expected),
          ...(which === "then" ? { expectedGaps: Object.fromEntries(gaps) } : {})
        })
      }
      const cwd = yield* scratch({ "threadline.config.json": configuration("first") })
      const configure = (text: string) => writeFileSync(join(cwd, "threadline.config.json"), text)
      const at = { url, cwd, env: { COLUMNS: "200" } }

      for (const findingCase of cases) {
        yield* query(
          filled(
            findingCase.setup ?? "create table % (id int primary key, v text, n int not null default 1)",
            findingCase
          )
        )
      }
      yield* Cli.text(["capture", "apply"], at)
      yield* query("set allow_system_table_mods = on")
      for (const findingCase of cases) {
        yield* findingCase.damage === undefined ? Effect.void : query(filled(findingCase.damage, findingCase))
      }
      configure(configuration("then"))
      const reportedFindings = yield* findingsOf(at)
      expect(reportedFindings.filter((finding) => !isComplete(finding))).toEqual([])
      const mendOf = (one: Case) =>
        reportedFindings.find(({ code, object }) => code === one.code && object === `public.${tableOf(one)}`)
      expect(cases.filter((one) => mendOf(one) === undefined).map(({ code }) => code)).toEqual([])

      // The host does its part first, then the statements run, then each command once.
      configure(configuration("mended"))
      const commands = new Set<string>()
      for (const findingCase of cases) {
        const mend = mendOf(findingCase)?.mend ?? null
        if (findingCase.stays) {
          expect(mend).toBeNull()
        }
        if (findingCase.host !== undefined) {
          expect(mend?._tag, findingCase.code).toBe("host")
          yield* query(filled(findingCase.host, findingCase))
        }
        if (mend?._tag === "sql") {
          yield* Effect.forEach(mend.statements, query)
        }
        const argv = mend?._tag === "command" ? mend.argv : mend?._tag === "sql" ? mend.then : (mend?.or ?? mend?.then)
        if (argv !== null && argv !== undefined) {
          commands.add(JSON.stringify(argv))
        }
      }
      const ordered = [...commands].sort((a, b) => a.length - b.length)
      for (const argv of ordered) {
        const [program, ...words] = JSON.parse(argv) as ReadonlyArray<string>
        expect(program).toBe("threadline")
        yield* Cli.text(words, at)
      }
      const after = yield* findingsOf(at)
      const left = cases.filter((one) =>
        after.some(({ code, object }) => code === one.code && object === `public.${tableOf(one)}`)
      )
      expect(left.map(({ code }) => code)).toEqual(cases.filter(({ stays }) => stays).map(({ code }) => code))
    })
  )

  it.scoped("of the record are found, and end when their mends are run", () =>
    Effect.gen(function* () {
      const { database, query, url } = yield* host
      const at = { url, env: { COLUMNS: "200" } }
      yield* query("create table c (id int primary key, v text); insert into c values (1, 'a')")
      yield* Cli.text(["capture", "apply", "--table=c"], at)
      const damages: { readonly [K in Code]?: readonly [damage: string, host?: string] } = {
        PartitionsMissing: [
          `do $$ declare leaf regclass; begin
            for leaf in select inhrelid from pg_inherits where inhparent = 'threadline.audit_changes'::regclass
              and inhrelid <> 'threadline.audit_changes_default'::regclass loop
              execute 'drop table ' || leaf;
            end loop;
          end $$`
        ],
        DefaultPartitionUsed: [
          `insert into threadline.audit_transactions (xid, epoch, occurred_at, db_user, context_error, backend_pid)
            values (pg_current_xact_id(), 1, now(), 'app', 'actor.id: missing', 1);
          insert into threadline.audit_changes (transaction_id, captured_at, table_schema, table_name, op)
            select max(id), now() - interval '40 days', 'public', 'c', 'insert' from threadline.audit_transactions`
        ],
        UnattributedWrites: [
          "select 1",
          "update threadline.audit_transactions set occurred_at = now() - interval '2 days'"
        ],
        ContextRefused: ["select 1", "select 1"],
        IndexMissing: ["drop index threadline.audit_actions_name_idx"],
        RecordUnlogged: ["alter table threadline.audit_actions set unlogged"],
        IndexInvalid: [
          "update pg_index set indisvalid = false where indexrelid = 'threadline.audit_actions_occurred_idx'::regclass"
        ],
        RecordRowSecurity: ["alter table threadline.audit_actions enable row level security"],
        RecordNotOwned: ["alter function threadline.schema_version() owner to current_user"],
        RecordWritable: ["grant insert on threadline.audit_changes to public"],
        ConsumerBehind: [
          "insert into threadline.feed_checkpoints (name, updated_at) values ('slow', now() - interval '3 days')"
        ],
        ReplicaSessions: [
          `alter database ${database.name} set session_replication_role = 'replica'`,
          `alter database ${database.name} reset session_replication_role`
        ],
        CanaryFailed: ["alter table c disable trigger user"]
      }
      for (const [damage] of Object.values(damages)) {
        yield* query(damage)
      }
      const canaryFindings = yield* findingsOf(at, "--canary")
      expect(canaryFindings.filter((finding) => !isComplete(finding))).toEqual([])
      const codes = Object.keys(damages) as ReadonlyArray<Code>
      expect(codes.filter((code) => !canaryFindings.some((finding) => finding.code === code))).toEqual([])
      const commands = new Set<string>()
      for (const { code, mend } of canaryFindings) {
        const [, mended] = damages[code] ?? []
        if (mended !== undefined) {
          expect(mend?._tag, code).toBe("host")
          yield* query(mended)
        }
        if (mend?._tag === "sql") {
          yield* Effect.forEach(mend.statements, query)
        }
        const argv = mend?._tag === "command" ? mend.argv : mend?._tag === "sql" ? mend.then : mend?.or
        if (argv !== null && argv !== undefined) {
          commands.add(JSON.stringify(argv))
        }
      }
      for (const argv of commands) {
        const [, ...words] = JSON.parse(argv) as ReadonlyArray<string>
        yield* Cli.text(words, at)
      }
      const after = yield* findingsOf(at, "--canary")
      expect(after.filter(({ code }) => codes.includes(code))).toEqual([])
    })
  )

  it.scoped("of the watch, the owner and replication are found, and end when their mends are run", () =>
    Effect.gen(function* () {
      const { database, query, url } = yield* host
      const cwd = yield* scratch({
        "threadline.config.json": JSON.stringify({ tables: { c: { dropGuard: true } } })
      })
      const at = { url, cwd }
      yield* query("create table c (id int primary key)")
      yield* Cli.text(["migrate", "up", "--watch-schema"], at)
      const owner = yield* database.ownOwner
      yield* Cli.text(["capture", "apply"], at)
      expect(yield* findingsOf(at)).toEqual([])
      yield* query(`alter role ${owner} login`)
      yield* query("alter table threadline.audit_changes_default replica identity default")
      yield* query("alter event trigger threadline_watch_drop_2 disable")
      const found = yield* findingsOf(at)
      expect(new Set(found.map(({ code }) => code))).toEqual(
        // To configure the guard is refused while the watch is broken.
        new Set(["ConfigurationRefused", "GuardOff", "OwnerCanLogin", "RecordUnidentified", "WatchBroken"])
      )
      expect(found.filter((finding) => !isComplete(finding))).toEqual([])
      yield* query(`alter role ${owner} nologin`)
      for (const { code, mend } of found) {
        expect(mend?._tag, code).toBe(code === "OwnerCanLogin" ? "host" : "command")
        yield* mend?._tag === "command" ? Cli.text(mend.argv.slice(1), at) : Effect.void
      }
      expect(yield* findingsOf(at)).toEqual([])
    })
  )

  it("are each found by a test", () => {
    const untold = knownCodes.filter((code) => !seen.has(code) && elsewhere[code] === undefined)
    expect(knownCodes.length).toBeGreaterThan(60)
    expect(untold).toEqual([])
    for (const [code, file] of Object.entries(elsewhere)) {
      expect(readFileSync(file, "utf8"), file).toContain(code)
    }
  })
})

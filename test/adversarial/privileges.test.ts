/** What a role of the application may not do to the record, and code of its own on the search path. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Capture from "../../src/Capture.js"
import { attacks, brief, changes } from "../support/adversarial.js"

const denied = "42501"

/** The application's role as `threadline grant --writer` leaves it, with a table of the host's to write. */
const writer = (role: string) => `
  grant usage on schema threadline to ${role};
  grant execute on function threadline.set_context(jsonb), threadline.begin_part(jsonb),
    threadline.record_action(jsonb, jsonb), threadline.finish(jsonb) to ${role};
  grant usage, create on schema public to ${role};
  grant select, insert, update, delete, truncate, references on all tables in schema public to ${role}`

attacks("the application's role", (attack) => {
  attack("touches no table, sequence, function, trigger or type of the record", ({ apply, db, role, session }) =>
    Effect.gen(function* () {
      yield* db.run("create table posts (id int primary key, title text)")
      yield* apply("posts")
      const app = yield* role("app")
      yield* db.run(writer(app), "insert into posts values (1, 'a')")
      const attacker = yield* session("app")
      const failures: Array<string> = []
      const refused = (statement: string, ...states: ReadonlyArray<string>) =>
        Effect.map(attacker.outcome(statement), (state) => {
          if (![denied, ...states].includes(state)) {
            failures.push(`${state}: ${statement}`)
          }
        })

      const tables = yield* db.column(
        "select format('threadline.%I', relname) from pg_class where relnamespace = 'threadline'::regnamespace and relkind in ('r', 'p')"
      )
      expect(tables.length).toBeGreaterThan(5)
      for (const table of tables) {
        const first = yield* db.value(
          "select quote_ident(attname) from pg_attribute where attrelid = $1::regclass and attnum = 2",
          [table]
        )
        for (const statement of [
          `insert into ${table} default values`,
          `update ${table} set ${first} = ${first}`,
          `delete from ${table}`,
          `truncate ${table}`,
          `select * from ${table}`,
          `select ${first} from ${table} for update`,
          `do 'begin lock table ${table} in row exclusive mode; end'`,
          `copy ${table} from stdin`,
          `alter table ${table} add column evil int`,
          `alter table ${table} disable trigger all`,
          `alter table ${table} disable row level security`,
          `alter table ${table} rename to evil`,
          `alter table ${table} owner to current_user`,
          `drop table ${table} cascade`,
          `create index on ${table} (${first})`,
          `create trigger evil before insert on ${table} for each row execute function suppress_redundant_updates_trigger()`,
          `create rule evil as on insert to ${table} do instead nothing`,
          `create policy evil on ${table} using (false)`,
          `create table public.child () inherits (${table})`,
          `grant all on ${table} to current_user`,
          `vacuum full ${table}`,
          `cluster ${table}`,
          `comment on table ${table} is 'step: day'`
        ]) {
          // PostgreSQL only warns where a role may not vacuum, and finds no index to cluster by before it looks at rights.
          yield* refused(
            statement,
            // PostgreSQL only warns of a VACUUM or GRANT that does nothing, and looks for the index to cluster by first.
            ...(/^(vacuum|grant)/.test(statement) ? ["ok"] : /^cluster/.test(statement) ? ["42704"] : []),
            ...(/^create table/.test(statement) ? ["42809"] : [])
          )
        }
      }
      for (const sequence of yield* db.column(
        "select format('threadline.%I', relname) from pg_class where relnamespace = 'threadline'::regnamespace and relkind = 'S'"
      )) {
        yield* refused(`select nextval('${sequence}')`)
        yield* refused(`select setval('${sequence}', 1)`)
        yield* refused(`alter sequence ${sequence} restart`)
        yield* refused(`drop sequence ${sequence}`)
      }

      const granted = ["set_context", "begin_part", "record_action", "finish"]
      const functions = yield* db.rows(`
        select p.proname as name, p.oid::regprocedure as signature, p.prorettype = 'trigger'::regtype as trigger,
          (select string_agg(format('(select null::%s)', format_type(t.oid, null)), ', ' order by t.place)
           from unnest(p.proargtypes::oid[]) with ordinality t (oid, place)
           ) as arguments
        from pg_proc p where p.pronamespace = 'threadline'::regnamespace`)
      expect(functions.length).toBeGreaterThan(25)
      for (const { arguments: list, name, signature, trigger } of functions) {
        if (!granted.includes(name ?? "") && name !== "schema_version") {
          yield* refused(
            // Nothing is cast to record; any row will do.
            `select threadline.${name}(${(list ?? "").replaceAll("(select null::record)", "row(1)")})`,
            ...(trigger === "t" ? ["0A000"] : [])
          )
        }
        yield* refused(`alter function ${signature} owner to current_user`)
        yield* refused(`alter function ${signature} reset all`)
        yield* refused(`alter function ${signature} security invoker`)
        yield* refused(`drop function ${signature} cascade`)
        yield* refused(`grant execute on function ${signature} to current_user`, "ok")
      }
      const existing = functions.find(({ trigger }) => trigger === "t")
      yield* refused(
        `create or replace function threadline.${existing?.name}() returns trigger language plpgsql as 'begin return null; end'`
      )
      yield* refused(
        "create or replace function threadline.current_transaction() returns bigint language sql as 'select 1::bigint'"
      )
      yield* refused("create function threadline.evil() returns int language sql as 'select 1'")
      yield* refused("create table threadline.evil (id int)")
      yield* refused("create type threadline.evil as (id int)")
      yield* refused("create operator threadline.= (leftarg = text, rightarg = text, function = texteq)")
      yield* refused("alter schema threadline owner to current_user")
      yield* refused("alter schema threadline rename to evil")
      yield* refused("drop schema threadline cascade")
      yield* refused("grant create on schema threadline to current_user", "ok")

      for (const trigger of yield* db.column(
        "select quote_ident(tgname) from pg_trigger where tgrelid = 'posts'::regclass"
      )) {
        yield* refused(`drop trigger ${trigger} on posts`)
        yield* refused(`alter table posts disable trigger ${trigger}`)
        yield* refused(`alter trigger ${trigger} on posts rename to evil`)
        yield* refused(
          `create or replace trigger ${trigger} after insert on posts for each statement execute function suppress_redundant_updates_trigger()`
        )
      }
      yield* refused("alter table posts disable trigger user")
      yield* refused("alter table posts rename to other")
      yield* refused("drop table posts")
      yield* refused("set session_replication_role = 'replica'")
      yield* refused("reassign owned by current_user to postgres")
      expect(failures).toEqual([])
      expect(
        yield* db.rows(`
          select p.oid::regprocedure as what from pg_proc p
          where p.pronamespace = 'threadline'::regnamespace and has_function_privilege('${app}', p.oid, 'execute')
            and p.proname not in ('set_context', 'begin_part', 'record_action', 'finish')
          union all
          select c.oid::regclass::text::regprocedure from pg_class c
          where c.relnamespace = 'threadline'::regnamespace and c.relkind in ('r', 'p')
            and has_table_privilege('${app}', c.oid, 'select, insert, update, delete, truncate, references, trigger')
          union all
          select null where has_schema_privilege('${app}', 'threadline', 'create')`)
      ).toEqual([])

      // After all of that its writes are captured, and its calls work.
      yield* attacker.run(
        `begin; select threadline.set_context('{"actor":{"type":"user","id":"1"}}'); update posts set title = 'b';
         select threadline.record_action('{"name":"post.updated"}'); commit`
      )
      expect(brief(yield* changes(db))).toEqual(["insert 1", "update 1"])
      expect(yield* db.column("select actor_id from threadline.audit_transactions order by id")).toEqual([null, "1"])
    })
  )

  attack(
    "needs no right to make triggers, which is one to replace them, and a replaced one is reported",
    ({ apply, capture, db, findings, role, session }) =>
      Effect.gen(function* () {
        yield* db.run("create table posts (id int primary key, title text)")
        yield* apply("posts")
        const app = yield* role("app")
        yield* db.run(
          `grant usage, create on schema public to ${app}; grant select, insert, trigger on posts to ${app}`
        )
        const attacker = yield* session("app")
        expect(yield* findings()).toEqual(["TriggerReplaceable"])
        yield* attacker.run(
          `create or replace trigger "0_threadline_insert" after insert on posts
         for each statement execute function suppress_redundant_updates_trigger()`
        )
        expect(yield* findings()).toEqual(expect.arrayContaining(["TriggerMissing", "TriggerAltered"]))
        expect((yield* capture.status()).map(({ captured }) => captured)).toEqual([false])
        const again = yield* Effect.either(apply("posts"))
        expect(again._tag === "Left" && again.left._tag === "CaptureError" && again.left.reason).toBe("NameCollision")
        const [status] = yield* capture.status()
        const mend = status?.findings.find(({ kind }) => kind === "TriggerAltered")?.mend
        expect(mend && Capture.describeMend(mend)).toBe(
          'drop trigger "0_threadline_insert" on public.posts, then threadline capture apply --table public.posts'
        )
        yield* db.run('drop trigger "0_threadline_insert" on posts')
        yield* apply("posts")
        expect(yield* findings()).toEqual(["TriggerReplaceable"])
      })
  )

  attack("has its writes captured without any grant", ({ apply, db, role, session }) =>
    Effect.gen(function* () {
      yield* db.run("create table posts (id int primary key, title text)")
      yield* apply("posts")
      const app = yield* role("bare")
      yield* db.run(`grant insert, update, delete, select, truncate on posts to ${app}`)
      const bare = yield* session("bare")
      yield* bare.run(
        "insert into posts values (1, 'a'), (2, 'b')",
        "update posts set title = 'c' where id = 1",
        "delete from posts where id = 2",
        "truncate posts"
      )
      expect(brief(yield* changes(db))).toEqual(["insert 1", "insert 2", "update 1", "delete 2", "truncate -"])
      expect(yield* db.column("select distinct db_user from threadline.audit_transactions")).toEqual([app])
      expect(yield* bare.outcome(`select threadline.set_context('{}')`)).toBe(denied)
    })
  )

  attack(
    "finds nothing in the schema that is for everybody, and no function without a search path of its own",
    ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run("create table posts (id int primary key, title text)")
        yield* apply("posts")
        expect(
          yield* db.column(`
          select p.oid::regprocedure from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
          where p.pronamespace = 'threadline'::regnamespace and a.grantee = 0
          union all
          select c.oid::regclass::text::regprocedure from pg_class c, aclexplode(c.relacl) a
          where c.relnamespace = 'threadline'::regnamespace and a.grantee = 0
          union all
          select null from pg_namespace n, aclexplode(n.nspacl) a where n.nspname = 'threadline' and a.grantee = 0`)
        ).toEqual([])
        expect(
          yield* db.column(`
          select p.oid::regprocedure from pg_proc p
          where p.pronamespace = 'threadline'::regnamespace
            -- A body that was parsed when it was made looks no name up any more.
            and (p.prosqlbody is null or p.prosecdef)
            -- It is inlined, and has no name in it that is looked up.
            and p.prosrc !~ '^select threadline\\.unaltered\\((.\\d+.::pg_catalog\\.regclass)\\) operator\\(pg_catalog\\.=\\) \\(\\$1 is not null or array\\[\\1, \\$1::pg_catalog\\.regclass\\] is null\\) and \\(\\$1 operator\\(pg_catalog\\.=\\) (.\\d+.)::pg_catalog\\.oid or threadline\\.is_elsewhere\\(\\2::pg_catalog\\.regclass\\)\\)$'
            and not exists (select from unnest(p.proconfig) c where c ~ '^search_path=.*, pg_temp$')`)
        ).toEqual([])
        expect(
          yield* db.column(`
          select p.oid::regprocedure from pg_proc p join pg_roles r on r.oid = p.proowner
          where p.pronamespace = 'threadline'::regnamespace and (r.rolsuper or r.rolcanlogin)`)
        ).toEqual([])
      })
  )
})

attacks("forging through generated functions", (attack) => {
  attack("is done by no trigger of a role's own, on whatever table", ({ apply, db, role, session }) =>
    Effect.gen(function* () {
      yield* db.run(
        "create table posts (id int primary key, title text)",
        "create table parts (id int, title text) partition by list (id)",
        "create table pieces (id int, title text) partition by list (id)"
      )
      yield* apply("posts", { table: "parts", mode: "statement" }, { table: "pieces", mode: "row" })
      const app = yield* role("app")
      yield* db.run(writer(app))
      const attacker = yield* session("app")
      yield* attacker.run(
        "create temp table posts (id int primary key, title text)",
        "create table public.mine (id int primary key, title text)",
        "create temp table parts (id int, title text) partition by list (id)",
        "create temp table part1 partition of parts for values in (1)"
      )
      const functions = yield* db.rows(
        "select proname as name from pg_proc where pronamespace = 'threadline'::regnamespace and prorettype = 'trigger'::regtype"
      )
      const events = (name: string) => /_(insert|update|delete|truncate)_/.exec(name)?.[1] ?? "insert"
      const referencing: Record<string, string> = {
        insert: "referencing new table as threadline_new",
        update: "referencing old table as threadline_old new table as threadline_new",
        delete: "referencing old table as threadline_old",
        truncate: ""
      }
      for (const { name } of functions) {
        const event = events(name ?? "")
        for (const table of ["pg_temp.posts", "public.mine", "pg_temp.parts", "pg_temp.part1", "public.posts"]) {
          // PostgreSQL clones the row triggers of partitions for whoever makes one: their functions refuse when they are called.
          const purpose = /^open_([a-z]+)_/.exec(name ?? "")?.[1]
          const open = purpose !== undefined && table !== "public.posts"
          expect([
            name,
            table,
            yield* attacker.outcome(
              `create trigger forged after ${event} on ${table} ${referencing[event]} for each statement execute function threadline.${name}()`
            )
          ]).toEqual([name, table, open ? "ok" : denied])
          if (open) {
            yield* attacker.run(`drop trigger forged on ${table}`, `insert into ${table} values (1, 'mine')`)
            for (const [forged, level] of [
              ["forged", "statement"],
              ["forged", "row"],
              [`0_threadline_${purpose}_${(name ?? "").slice(-10)}`, "statement"],
              [`0_threadline_${purpose}_${(name ?? "").slice(-10)}`, "row"]
            ]) {
              yield* attacker.run(
                `create trigger "${forged}" after insert or update or delete on ${table} for each ${level} execute function threadline.${name}()`
              )
              for (const write of [
                `insert into ${table} values (${/part/.test(table) ? 1 : 2}, 'forged')`,
                `update ${table} set title = 'forged'`,
                `delete from ${table}`
              ]) {
                const forging = `begin; set local threadline.updating = ' 0: 1: 2:1:9,'; set local threadline.moved = 'yes'; ${write}`
                for (const statement of [write, forging]) {
                  expect([forged, level, statement, yield* attacker.outcome(statement)]).toEqual([
                    forged,
                    level,
                    statement,
                    denied
                  ])
                  yield* attacker.run("rollback")
                }
              }
              yield* attacker.run(`drop trigger "${forged}" on ${table}`)
            }
            yield* attacker.run(`delete from ${table}`)
          }
        }
      }
      expect(yield* changes(db)).toEqual([])
      // Even where somebody gave the right to execute them away, they know the tables they are for.
      yield* db.run(`grant execute on all functions in schema threadline to ${app}`)
      // What comes before an update records nothing: it leaves word in a setting, which anybody can make.
      for (const { name } of functions.filter(({ name: each }) =>
        /_(?!begin)[a-z]+_(posts|parts|pieces)/.test(each ?? "")
      )) {
        const event = events(name ?? "")
        for (const table of ["pg_temp.posts", "public.mine", "pg_temp.parts", "pg_temp.part1"]) {
          yield* attacker.run(
            `create trigger forged after ${event} on ${table} ${referencing[event]} for each statement execute function threadline.${name}()`
          )
          const write = {
            insert: `insert into ${table} values (1, 'forged')`,
            update: `update ${table} set title = 'forged'`,
            delete: `delete from ${table}`,
            truncate: `truncate ${table}`
          }[event]
          const state = yield* attacker.outcome(write ?? "")
          expect([name, table, state]).toEqual([name, table, denied])
          yield* attacker.run(`drop trigger forged on ${table}`)
          if (event === "truncate") {
            yield* attacker.run(
              `create trigger forged before truncate on ${table} for each statement execute function threadline.${name}()`
            )
            expect([name, table, yield* attacker.outcome(write ?? "")]).toEqual([name, table, denied])
            yield* attacker.run(`drop trigger forged on ${table}`)
          }
        }
      }
      expect(yield* changes(db)).toEqual([])
    })
  )

  attack("is done by no table that got the name of a captured one", ({ apply, db, role, session }) =>
    Effect.gen(function* () {
      yield* db.run(
        "create table parts (id int, v text) partition by list (id)",
        "create table pieces (id int, v text) partition by list (id)"
      )
      yield* apply({ table: "parts", mode: "statement" }, { table: "pieces", mode: "row" })
      yield* db.run(writer(yield* role("app")), "drop table parts, pieces")
      const attacker = yield* session("app")
      const functions = yield* db.rows(
        "select proname as name from pg_proc where pronamespace = 'threadline'::regnamespace and proname like 'open~_%' escape '~'"
      )
      expect(functions.length).toBe(5)
      for (const { name } of functions) {
        const [, purpose = "", table = ""] = /^open_([a-z]+)_([a-z]+)_/.exec(name ?? "") ?? []
        const op = { leave: "delete", enter: "insert" }[purpose] ?? purpose
        for (const kind of [") partition by list (id)", ")"]) {
          yield* attacker.run(
            `create table public.${table} (id int, v text${kind}`,
            ...(kind === ")" ? [] : [`create table public.leaf partition of public.${table} default`]),
            `insert into public.${table} values (1, 'mine')`,
            `create trigger "0_threadline_${purpose}_${(name ?? "").slice(-10)}" after ${op} on public.${table} for each row execute function threadline.${name}()`
          )
          const write = {
            insert: `insert into public.${table} values (2, 'forged')`,
            update: `update public.${table} set v = 'forged'`,
            delete: `delete from public.${table}`
          }[op]
          expect([
            name,
            kind,
            yield* attacker.outcome(
              `begin; set local threadline.updating = ' 0: 1: 2:1:9,'; set local threadline.moved = 'yes'; ${write}`
            )
          ]).toEqual([name, kind, denied])
          yield* attacker.run("rollback", `drop table public.${table}`)
        }
      }
      expect(yield* changes(db)).toEqual([])
    })
  )

  attack(
    "is done by no cast to json that a role can write: it is refused, or runs by consent and never without a trace",
    ({ apply, capture, db, role, session }) =>
      Effect.gen(function* () {
        const app = yield* role("app")
        yield* db.run(writer(app))
        const attacker = yield* session("app")
        yield* attacker.run(
          "create type public.payload as enum ('x')",
          `create function public.payload_json(p public.payload) returns json language plpgsql as
         $$ begin
              insert into threadline.audit_actions (xid, name, status, occurred_at) values ('1', 'forged', 'ok', now());
              return '{}';
            end $$`,
          "create cast (public.payload as json) with function public.payload_json(public.payload)",
          "create table public.t (id int primary key, p public.payload)"
        )
        const refusal = yield* Effect.either(capture.apply([{ table: "t" }]))
        expect(refusal._tag === "Left" && refusal.left._tag === "CaptureError" && refusal.left.reason).toBe("HostCast")
        // Excluding the column does not keep the cast from running.
        const excluded = yield* Effect.either(capture.apply([{ table: "t", exclude: ["p"] }]))
        expect(excluded._tag === "Left" && excluded.left._tag === "CaptureError" && excluded.left.reason).toBe(
          "HostCast"
        )
        expect(yield* changes(db)).toEqual([])
        // A cast that comes after the triggers is reported.
        yield* db.run("drop cast (payload as json)")
        yield* apply("t")
        expect(
          yield* attacker.outcome(
            "create cast (public.payload as json) with function public.payload_json(public.payload)"
          )
        ).toBe("ok")
        const statuses = yield* capture.status()
        expect(statuses.flatMap(({ findings }) => findings.map(({ kind }) => kind))).toContain("HostCast")
      })
  )
})

const shadows = `
  create schema evil;
  create function evil.current_transaction() returns bigint language plpgsql as $$ begin raise exception 'shadowed'; end $$;
  create function evil.clock_timestamp() returns timestamptz language plpgsql as $$ begin raise exception 'shadowed'; end $$;
  create function evil.to_jsonb(anyelement) returns jsonb language plpgsql as $$ begin raise exception 'shadowed'; end $$;
  create function evil.to_jsonb(record) returns jsonb language plpgsql as $$ begin raise exception 'shadowed'; end $$;
  create function evil.image(record) returns jsonb language plpgsql as $$ begin raise exception 'shadowed'; end $$;
  create function evil.redact(jsonb, jsonb) returns jsonb language plpgsql as $$ begin raise exception 'shadowed'; end $$;
  create function evil.nextval(regclass) returns bigint language plpgsql as $$ begin raise exception 'shadowed'; end $$;
  create function evil.set_config(text, text, boolean) returns text language plpgsql as $$ begin raise exception 'shadowed'; end $$;
  create function evil.current_setting(text, boolean) returns text language plpgsql as $$ begin raise exception 'shadowed'; end $$;
  create function evil.octet_length(text) returns int language plpgsql as $$ begin raise exception 'shadowed'; end $$;
  create function evil.jsonb_build_object(variadic "any") returns jsonb language internal as 'jsonb_build_object_noargs';
  create function evil.tricked(text, text) returns boolean language plpgsql as $$ begin raise exception 'shadowed'; end $$;
  create function evil.tricked(jsonb, text) returns text language plpgsql as $$ begin raise exception 'shadowed'; end $$;
  create function evil.tricked(jsonb, text[]) returns jsonb language plpgsql as $$ begin raise exception 'shadowed'; end $$;
  create function evil.tricked(jsonb, jsonb) returns boolean language plpgsql as $$ begin raise exception 'shadowed'; end $$;
  create function evil.tricked(name, text) returns boolean language plpgsql as $$ begin raise exception 'shadowed'; end $$;
  create operator evil.= (leftarg = text, rightarg = text, function = evil.tricked);
  create operator evil.<> (leftarg = text, rightarg = text, function = evil.tricked);
  create operator evil.<> (leftarg = name, rightarg = text, function = evil.tricked);
  create operator evil.->> (leftarg = jsonb, rightarg = text, function = evil.tricked);
  create operator evil.- (leftarg = jsonb, rightarg = text[], function = evil.tricked);
  create operator evil.= (leftarg = jsonb, rightarg = jsonb, function = evil.tricked);
  create table evil.audit_changes (like threadline.audit_changes);
  create table evil.audit_transactions (like threadline.audit_transactions);
  create table evil.capture_policies (like threadline.capture_policies);
  create domain evil.jsonb as text;
  create domain evil.text as pg_catalog.int4;
  create domain evil.bigint as pg_catalog.bool;
  grant usage on schema evil to public`

attacks("hostile search paths", (attack) => {
  attack(
    "change nothing with functions, operators, tables and types that shadow others",
    ({ apply, db, role, session }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table posts (id int primary key, title text, j json, price numeric)",
          "create table parts (id int primary key) partition by list (id)",
          "create table part1 partition of parts for values in (1)"
        )
        const app = yield* role("app")
        yield* db.run(
          writer(app),
          shadows.replaceAll("create domain evil.jsonb as text", "create domain evil.jsonb as pg_catalog.text")
        )
        // The path of the database itself: every later session has it, that of \`Capture.apply\` too.
        yield* db.run(`alter role ${app} set search_path = evil, pg_catalog, public`)
        yield* apply("posts", "parts")
        const attacker = yield* session("app")
        expect(yield* attacker.value("show search_path")).toBe("evil, pg_catalog, public")
        // Names of its own in its temporary schema come first of all for tables and types.
        yield* attacker.run(
          "create temp table audit_changes (id int)",
          "create temp table audit_transactions (id int)",
          "create temp table capture_policies (id int)",
          "create temp table installs (id int)",
          "create temp sequence audit_changes_id_seq",
          "create domain pg_temp.jsonb as pg_catalog.text",
          "create temp table threadline_new (id int)",
          "create temp table threadline_old (id int)"
        )
        yield* attacker.run(
          `begin; select threadline.set_context('{"actor":{"type":"user","id":"1"},"remoteIp":"10.0.0.1"}'::pg_catalog.jsonb)`,
          "insert into public.posts (id, title) values (1, 'a')",
          "update public.posts set title = 'b', price = 1.10",
          "insert into public.posts (id, title) values (2, 'a'), (3, 'b')",
          "update public.posts set title = title || '!'",
          `update public.posts set j = '{"a":1}'`,
          "delete from public.posts where id in (1, 2)",
          "insert into public.part1 values (1)",
          "truncate public.part1",
          "truncate public.posts",
          `select threadline.record_action('{"name":"x"}'::pg_catalog.jsonb), threadline.finish('{}'::pg_catalog.jsonb); commit`
        )
        expect(brief(yield* changes(db))).toEqual([
          "insert 1",
          "update 1",
          "insert 2",
          "insert 3",
          "update 1",
          "update 2",
          "update 3",
          "update 1",
          "update 2",
          "update 3",
          "delete 1",
          "delete 2",
          "insert 1",
          "truncate 1",
          "truncate -"
        ])
        expect(yield* db.rows("select distinct actor_id, context_error from threadline.audit_transactions")).toEqual([
          { actor_id: "1", context_error: null }
        ])
        expect(
          yield* db.value(
            "select (select count(*) from evil.audit_changes) + (select count(*) from evil.audit_transactions)"
          )
        ).toBe("0")
        expect(
          yield* attacker.value(
            "select (select count(*) from pg_temp.audit_changes) + (select count(*) from pg_temp.audit_transactions)"
          )
        ).toBe("0")
      })
  )

  attack(
    "change nothing in how capture is applied and inspected, if they are those of the database",
    ({ capture, database, db }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table posts (id int primary key, title text)",
          shadows.replaceAll("create domain evil.jsonb as text", "create domain evil.jsonb as pg_catalog.text")
        )
        yield* db.run(`alter database ${database.name} set search_path = evil, pg_catalog, public`)
        const steps = yield* capture.apply([{ table: "posts" }])
        expect(steps.map(({ kind }) => kind)).toEqual(["attach"])
        expect((yield* capture.status()).map(({ captured, table }) => [table, captured])).toEqual([
          ["public.posts", true]
        ])
        expect(yield* capture.apply([{ table: "posts" }])).toEqual([])
        yield* db.run("insert into public.posts values (1, 'a')")
        expect(brief(yield* changes(db))).toEqual(["insert 1"])
        yield* db.run(`alter database ${database.name} reset search_path`, "drop schema evil cascade")
      })
  )
})

/** Who wrote what: nothing that a session, a pooler or a forger leaves behind becomes an actor. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, brief, changes, clear, type Session, who } from "../support/adversarial.js"

const stamp = "extract(epoch from transaction_timestamp())::text || ' '"

/** Every transaction with its actor, its error, and the keys of what it captured. */
const story = (db: Session) =>
  Effect.map(
    db.rows(`
      select coalesce(t.actor_type || ':' || coalesce(t.actor_id, ''), 'nobody') as actor, t.context_error as error,
        string_agg(c.op || ' ' || c.row_key, ', ' order by c.id) as what
      from threadline.audit_transactions t
      left join threadline.audit_changes c on c.transaction_id = t.id
      group by t.id
      order by t.id`),
    (rows) => rows.map(({ actor, what }) => `${actor} ${what}`)
  )

attacks("context of another transaction", (attack) => {
  attack("is nobody if it was set for the session", ({ apply, db, session }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      const pooled = yield* session()
      yield* pooled.run(
        `select set_config('threadline.context', ${stamp} || '{"actor":{"type":"user","id":"eve"}}', false)`,
        "insert into t values (1)",
        "begin; insert into t values (2); commit"
      )
      expect(yield* story(pooled)).toEqual(["nobody insert 1", "nobody insert 2"])
      expect(yield* pooled.column("select distinct context_error from threadline.audit_transactions")).toEqual([
        "context: not set by set_context in this transaction"
      ])
    })
  )

  attack("is nobody if a pooler carries it to the next client", ({ apply, db, session }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      const pooled = yield* session()
      // The leak: a client that made its transaction's settings the session's.
      yield* pooled.run(
        "begin",
        who("first"),
        `select set_config('threadline.context', current_setting('threadline.context'), false)`,
        "insert into t values (1)",
        `select set_config('threadline.transaction', current_setting('threadline.transaction'), false)`,
        "commit"
      )
      yield* pooled.run("begin; insert into t values (2); commit", "insert into t values (3)")
      expect(yield* story(pooled)).toEqual(["user:first insert 1", "nobody insert 2", "nobody insert 3"])
    })
  )

  attack("is gone with a rollback, and with the end of its transaction", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      yield* db.run("begin", who("gone"), "insert into t values (1)", "rollback")
      expect(yield* db.value("select current_setting('threadline.context', true)")).toBe("")
      expect(yield* db.value("select current_setting('threadline.transaction', true)")).toBe("")
      yield* db.run("insert into t values (2)", `begin; ${who("kept")}; insert into t values (3); commit`)
      yield* db.run("insert into t values (4)")
      expect(yield* db.outcome(`begin; ${who("failed")}; insert into t values (4); commit`)).toBe("23505")
      yield* db.run("rollback", "insert into t values (5)")
      expect(yield* story(db)).toEqual(["nobody insert 2", "user:kept insert 3", "nobody insert 4", "nobody insert 5"])
    })
  )

  attack(
    "is not taken for that of the next transaction of one message, which has the same timestamp",
    ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run("create table t (id int primary key)")
        yield* apply("t")
        yield* db.run(
          `begin; ${who("one")}; insert into t values (1); commit; begin; insert into t values (2); commit;
         begin; ${who("three")}; insert into t values (3); commit; insert into t values (4)`
        )
        expect(yield* story(db)).toEqual([
          "user:one insert 1",
          "nobody insert 2",
          "user:three insert 3",
          "nobody insert 4"
        ])
        // Statements after a COMMIT in a procedure are another transaction too.
        yield* clear(db)
        yield* db.run(
          `do $$ begin perform threadline.set_context('{"actor":{"type":"user","id":"proc"}}');
           insert into t values (5); commit; insert into t values (6); end $$`
        )
        expect(yield* story(db)).toEqual(["user:proc insert 5", "nobody insert 6"])
      })
  )

  attack("does not take the place of the actor of a prepared transaction that it commits", ({ apply, db, session }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      yield* db.run("begin", who("early"), "insert into t values (1)", "prepare transaction 'adversary'")
      yield* db.run("insert into t values (2)")
      const other = yield* session()
      yield* other.run("commit prepared 'adversary'", "insert into t values (3)")
      expect(yield* story(db)).toEqual(["user:early insert 1", "nobody insert 2", "nobody insert 3"])
    })
  )
})

attacks("savepoints", (attack) => {
  attack("never leave a reference to a transaction row that was rolled back", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      yield* db.run(
        "begin",
        who("a"),
        "savepoint s",
        "insert into t values (1)",
        "rollback to s",
        "insert into t values (2)",
        "savepoint s2",
        "insert into t values (3)",
        who("b"),
        "insert into t values (4)",
        "rollback to s2",
        "insert into t values (5)",
        "release s2",
        "commit"
      )
      expect(yield* story(db)).toEqual(["user:a insert 2, insert 5"])
      expect(
        yield* db.value(`select count(*) from threadline.audit_changes c
          where not exists (select from threadline.audit_transactions t where t.id = c.transaction_id)`)
      ).toBe("0")
    })
  )

  attack("of PL/pgSQL keep the attribution, many deep, released and undone", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      yield* db.run(
        `do $$
         begin
           for i in 1..100 loop
             begin
               insert into t values (i);
               if i % 3 <> 0 then
                 raise exception 'no' using errcode = 'ZZ001';
               end if;
             exception when sqlstate 'ZZ001' then null;
             end;
           end loop;
         end $$`
      )
      const recordedChanges = yield* changes(db)
      expect(recordedChanges).toHaveLength(33)
      expect(new Set(recordedChanges.map(({ tx }) => tx)).size).toBe(1)
      expect(yield* db.value("select count(*) from threadline.audit_transactions")).toBe("1")

      yield* clear(db)
      const depth = 60
      yield* db.run(
        "begin",
        who("deep"),
        ...Array.from({ length: depth }, (_, at) => `savepoint s${at}; insert into t values (${1000 + at})`),
        // Half of them are undone; the row was made in the outermost, which stays.
        `rollback to s${depth / 2}`,
        "insert into t values (5000)",
        "commit"
      )
      expect(yield* story(db)).toEqual([
        `user:deep ${[...Array.from({ length: depth / 2 }, (_, at) => `insert ${1000 + at}`), "insert 5000"].join(", ")}`
      ])
    })
  )

  attack("that undo everything but the last statement leave one transaction row", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key, n int)")
      yield* apply("t")
      yield* db.run(
        "begin",
        "savepoint s",
        "insert into t values (1, 1)",
        "update t set n = 2",
        "rollback to s",
        "release s",
        "insert into t values (1, 3)",
        "commit"
      )
      expect(brief(yield* changes(db))).toEqual(["insert 1"])
      expect(yield* db.value("select count(*) from threadline.audit_transactions")).toBe("1")
    })
  )
})

attacks("spoofed context", (attack) => {
  attack("never breaks the write and never names an actor if its document is not what it should be", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      const long = "x".repeat(257)
      const deep = `${'{"type":"user","id":"1","impersonator":'.repeat(2000)}{"type":"user","id":"1"}${"}".repeat(2000)}`
      const documents: ReadonlyArray<string> = [
        `[]`,
        `"user"`,
        `"actor"`,
        `42`,
        `null`,
        `true`,
        `["actor"]`,
        `{"actor":"user:1"}`,
        `{"actor":"id"}`,
        `{"actor":["type","id"]}`,
        `{"actor":{"id":"1"}}`,
        `{"actor":{"type":"user"}}`,
        `{"actor":{"type":"User","id":"1"}}`,
        `{"actor":{"type":"root","id":"1"}}`,
        `{"actor":{"type":"user","id":1.5}}`,
        `{"actor":{"type":"user","id":""}}`,
        `{"actor":{"type":"user","id":null}}`,
        `{"actor":{"type":"user","id":["1"]}}`,
        `{"actor":{"type":"user","id":[]}}`,
        `{"actor":{"type":"user","id":{"a":"1"}}}`,
        `{"actor":{"type":["user"],"id":"1"}}`,
        `{"actor":{"type":null,"id":"1"}}`,
        `{"actor":{"type":"user","id":"${long}"}}`,
        `{"actor":{"type":"user","id":"${"é".repeat(129)}"}}`,
        `{"actor":{"type":"anonymous","id":"1"}}`,
        `{"actor":[{"type":"user","id":"1"}]}`,
        `[{"actor":{"type":"user","id":"1"}}]`,
        `{"Actor":{"type":"user","id":"1"}}`,
        `{"actor ":{"type":"user","id":"1"}}`
      ]
      for (const [at, document] of documents.entries()) {
        yield* db.run("begin", `select threadline.set_context('${document}')`, `insert into t values (${at})`, "commit")
      }
      // jsonb itself may refuse the deepest one, the write must not.
      yield* db.run("begin")
      yield* db.rows("select threadline.set_context($1::jsonb)", [`{"actor":${deep}}`])
      yield* db.run("insert into t values (1000)", "commit")
      const recordedRows = yield* db.rows(`
        select c.row_key as key, t.actor_type, t.actor_id, t.actor, t.context_error as error
        from threadline.audit_transactions t join threadline.audit_changes c on c.transaction_id = t.id order by t.id`)
      expect(recordedRows).toHaveLength(documents.length + 1)
      expect(
        recordedRows
          .slice(0, documents.length)
          .filter(
            ({ actor, actor_id, actor_type, error }) =>
              actor !== null || actor_id !== null || actor_type !== null || error === null
          )
          .map(({ actor, actor_id, actor_type, error, key }) => [
            documents[Number(key)],
            actor,
            actor_id,
            actor_type,
            error
          ])
        // A context without a word in it is no mistake.
      ).toEqual([])
    })
  )

  attack("is recorded without the fields that are not what they should be, which are named", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      const texts = ["correlationId", "requestId", "jobId", "traceId", "source"]
      const wrong = [`1`, `""`, `["a"]`, `[]`, `{}`, `{"a":"b"}`, `true`, `"${"y".repeat(257)}"`, `[["a"]]`]
      const documents = [
        ...texts.flatMap((field) => wrong.map((value) => `{"${field}":${value}}`)),
        ...[`"nowhere"`, `1`, `["10.0.0.1"]`, `"10.0.0.1 or so"`, `{}`, `""`].map((value) => `{"remoteIp":${value}}`),
        ...[`1`, `"a"`, `[]`, `[{"a":1}]`, `true`].map((value) => `{"meta":${value}}`),
        `{"surprise":1}`,
        `{"sql":"'; drop table t; --"}`
      ]
      for (const [at, document] of documents.entries()) {
        yield* db.run("begin")
        yield* db.rows("select threadline.set_context($1::jsonb)", [document])
        yield* db.run(`insert into t values (${at})`, "commit")
      }
      const recordedRows = yield* db.rows(`
        select c.row_key as key, t.context_error as error,
          num_nonnulls(actor_type, actor, correlation_id, request_id, job_id, trace_id, source, remote_ip) as filled, meta
        from threadline.audit_transactions t join threadline.audit_changes c on c.transaction_id = t.id order by t.id`)
      expect(recordedRows).toHaveLength(documents.length)
      expect(
        recordedRows
          .filter(({ error, filled, meta }) => error === null || filled !== "0" || meta !== "{}")
          .map(({ error, filled, key, meta }) => [documents[Number(key)], error, filled, meta])
      ).toEqual([])
    })
  )

  attack("is recorded with what is right in it, beside what is wrong", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      yield* db.run("begin")
      yield* db.rows("select threadline.set_context($1::jsonb)", [
        JSON.stringify({
          actor: { type: "user", id: "7", label: 5, extra: "x", impersonator: { type: "nobody", id: "1" } },
          correlationId: "c'; select 1; --",
          requestId: 17,
          remoteIp: "::1",
          meta: { deep: { er: [1, "2"] } }
        })
      ])
      yield* db.run("insert into t values (1)", "commit")
      expect(
        yield* db.rows(`select actor_type, actor_id, actor, correlation_id, request_id, remote_ip, meta,
          context_error is not null as told from threadline.audit_transactions`)
      ).toEqual([
        {
          actor_type: "user",
          actor_id: "7",
          actor: '{"id": "7", "type": "user"}',
          correlation_id: "c'; select 1; --",
          request_id: null,
          remote_ip: "::1",
          meta: '{"deep": {"er": [1, "2"]}}',
          told: "t"
        }
      ])
    })
  )

  attack(
    "is reported if it is garbage in a setting made by hand, and counts for nothing under the stamp of another moment",
    ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run("create table t (id int primary key)")
        yield* apply("t")
        const doc = `{"actor":{"type":"admin","id":"root"}}`
        const forged: ReadonlyArray<string> = [
          `'${doc}'`,
          `' ' || '${doc}'`,
          `'0 ${doc}'`,
          `'now ${doc}'`,
          `extract(epoch from transaction_timestamp())::text || '${doc}'`,
          `extract(epoch from transaction_timestamp())::text || '  ' || 'x${doc}'`,
          `extract(epoch from transaction_timestamp() - interval '1 microsecond')::text || ' ${doc}'`,
          `extract(epoch from transaction_timestamp() + interval '1 microsecond')::text || ' ${doc}'`,
          `extract(epoch from date_trunc('second', transaction_timestamp()))::bigint::text || ' ${doc}'`,
          `transaction_timestamp()::text || ' ${doc}'`,
          `${stamp} || '{"actor"'`,
          `${stamp} || ''`,
          `repeat('a', 100000)`,
          `${stamp} || repeat('[', 100000)`
        ]
        for (const [at, value] of forged.entries()) {
          yield* db.run(
            "begin",
            `select set_config('threadline.context', ${value}, true)`,
            `insert into t values (${at})`,
            "commit"
          )
        }
        expect(
          yield* db.column(
            "select distinct actor_type from threadline.audit_transactions where context_error is not null"
          )
        ).toEqual([null])
        expect(
          yield* db.value("select count(*) from threadline.audit_transactions where context_error is not null")
        ).toBe(String(forged.length))
      })
  )

  attack("never gets the transaction of another by a cached id set by hand", ({ apply, db, session }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      yield* db.run("begin", who("victim"), "insert into t values (1)", "commit")
      const victim = (yield* db.value("select max(id) from threadline.audit_transactions")) ?? ""
      const holder = yield* session()
      yield* holder.run("begin", who("running"), "insert into t values (2)")
      const running = (yield* holder.value("select current_setting('threadline.transaction')")) ?? ""
      const values = [
        victim,
        running,
        "-1",
        "0",
        "1e3",
        " 1",
        "99999999999999999999",
        "abc",
        "1; drop table t",
        "1,2",
        `${victim} `
      ]
      for (const [at, value] of values.entries()) {
        yield* db.run(
          "begin",
          `set local threadline.transaction = '${value}'`,
          `insert into t values (${at + 10})`,
          "commit"
        )
      }
      yield* holder.run("commit")
      expect(yield* story(db)).toEqual([
        "user:victim insert 1",
        "user:running insert 2",
        ...values.map((_, at) => `nobody insert ${at + 10}`)
      ])
    })
  )

  attack("never takes actions of another transaction by a setting made by hand", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      yield* db.run("begin", who("victim"), `select threadline.record_action('{"name":"waiting"}')`, "commit")
      const action = yield* db.value("select max(id) from threadline.audit_actions")
      for (const [at, value] of [action, `${action},x`, "{}", ",,,", "9".repeat(40), "1,1,1", "NULL"].entries()) {
        yield* db.run("begin", `set local threadline.actions = '${value}'`, `insert into t values (${at})`, "commit")
      }
      expect(yield* db.column("select transaction_id from threadline.audit_actions")).toEqual([null])
      expect(yield* db.value("select count(*) from threadline.audit_transactions where action_id is not null")).toBe(
        "0"
      )
      expect(yield* db.value("select count(*) from threadline.audit_changes")).toBe("7")
    })
  )

  attack("changes nothing by any other setting of Threadline", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key, n int)")
      yield* apply("t")
      yield* db.run("insert into t values (1, 0), (2, 0)")
      for (const value of [
        // A good word, and words that are not.
        "'t'::regclass::oid || ':9999'",
        "'t'::regclass::oid || ':99999999999'",
        "'x y z'",
        "repeat(' ', 1000)"
      ]) {
        yield* db.run(
          `begin; update t set n = n + 1; update t set n = n - 1; update t set n = n + 1;
           select set_config('threadline.nested', ${value}, true), set_config('threadline.parts', '[[[', true);
           update t set n = n - 1; update t set n = n + 1 where id = 1; update t set n = n - 1 where id = 1; commit`
        )
      }
      const recordedChanges = (yield* changes(db)).filter(({ key, op }) => key === "1" && op === "update")
      expect(recordedChanges).toHaveLength(24)
      const broken = recordedChanges.filter(
        ({ before }, at) => before !== (at === 0 ? '{"n": 0, "id": 1}' : recordedChanges[at - 1]?.after)
      )
      expect(broken).toEqual([])
    })
  )

  attack("is refused if it ends a part that is not open, and the enclosing actor stays", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      const end = `select threadline.finish('{"part": true}')`
      const begin = `select threadline.begin_part('{"actor": {"type": "job", "id": "part"}}')`
      const refused = Effect.gen(function* () {
        yield* db.run("savepoint refused")
        expect(yield* db.outcome(end)).toBe("TL004")
        yield* db.run("rollback to refused")
      })
      yield* db.run("begin", who("outer"))
      yield* refused
      yield* db.run("insert into t values (1)", begin, "insert into t values (2)", end)
      yield* refused
      yield* db.run("insert into t values (3)", "savepoint part", begin, "rollback to part")
      yield* refused
      yield* db.run("insert into t values (4)", "select set_config('threadline.parts', '[[[', true)")
      yield* refused
      yield* db.run("insert into t values (5)", "commit")
      const actors = yield* db.column(
        "select t.actor_id from threadline.audit_changes c join threadline.audit_transactions t on t.id = c.transaction_id order by c.id"
      )
      expect(actors).toEqual(["outer", "part", "outer", "outer", "outer"])
    })
  )

  attack("says nothing of who a recorded actor is if it comes later", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      yield* db.run(
        "begin",
        "insert into t values (1)",
        who("late"),
        "insert into t values (2)",
        who("thief"),
        "insert into t values (3)",
        who("late"),
        "insert into t values (4)",
        "commit"
      )
      expect(yield* story(db)).toEqual(["user:late insert 1, insert 2", "user:thief insert 3", "user:late insert 4"])
    })
  )
})

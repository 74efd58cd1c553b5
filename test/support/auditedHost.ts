/**
 * A small host: its tables audited, and a role that may write them and call what `threadline grant --writer` allows.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Audit from "../../src/Audit.js"
import * as Capture from "../../src/Capture.js"
import * as Semantics from "../../src/Semantics.js"
import * as TestDatabase from "../harness/TestDatabase.js"

/** The superuser's view of the database. */
export class Owner extends Context.Tag("threadline/test/Owner")<Owner, PgClient.PgClient>() {}

const hostSchema = (role: string): string => `
  create table posts (id int primary key, title text not null);
  create table ledger (id int primary key, amount int not null);
  create table authors (id int primary key);
  create table books (
    id int primary key,
    author int not null references authors deferrable initially deferred
  );

  -- Ends the session that commits a row, at COMMIT.
  create table fuses (id int primary key, what text not null);
  create function burn() returns trigger
  language plpgsql security definer
  as $$
  begin
    if new.what = 'terminate' then
      perform pg_terminate_backend(pg_backend_pid());
      perform pg_sleep(10);
    end if;
    raise exception 'the fuse of % has burnt', new.what using errcode = new.what;
  end
  $$;
  create constraint trigger burn after insert on fuses
    deferrable initially deferred for each row execute function burn();

  grant select, insert, update, delete on posts, ledger, authors, books, fuses to ${role};
  grant usage on schema threadline to ${role};
  grant execute on function
    threadline.set_context(jsonb), threadline.begin_part(jsonb), threadline.record_action(jsonb, jsonb),
    threadline.finish(jsonb)
  to ${role};
`

/** A client of the application's role, the services that use it, and the superuser's client. */
export const layerWith = (options: Partial<PgClient.PgClientConfig> = {}) => {
  const clients = Layer.scopedContext(
    Effect.gen(function* () {
      const database = yield* TestDatabase.TestDatabase
      const owner = yield* PgClient.PgClient
      const role = yield* database.role("app")
      yield* owner.unsafe(hostSchema(role.name))
      yield* Effect.flatMap(Capture.Capture, (capture) =>
        capture.apply([{ table: "posts" }, { table: "ledger" }, { table: "books" }])
      ).pipe(Effect.provide(Capture.layer))
      const app = yield* database.connect("app", { maxConnections: 5, ...options })
      return Context.make(SqlClient.SqlClient, app).pipe(Context.add(Owner, owner))
    })
  )
  return Layer.mergeAll(Audit.layer, Semantics.layer).pipe(
    Layer.provideMerge(clients),
    Layer.provideMerge(TestDatabase.layer)
  )
}

export const layer = layerWith()

/** Empties everything, without triggers. Deleting few rows is many times faster than `truncate` of partitions. */
export const reset = Effect.flatMap(Owner, (owner) =>
  owner.unsafe(`
    begin;
    set local session_replication_role = replica;
    delete from posts;
    delete from ledger;
    delete from books;
    delete from authors;
    delete from fuses;
    delete from threadline.audit_changes;
    delete from threadline.audit_transactions;
    delete from threadline.audit_actions;
    commit
  `)
)

export interface SeenChange {
  readonly row: string
  readonly table: string
  readonly op: string
  readonly transaction: string
  readonly actor: string | null
}

/** What was captured, in order, with who did it. */
export const changes = Effect.flatMap(
  Owner,
  (owner) => owner<SeenChange>`
    select c.row_key as row, c.table_name as table, c.op, t.id::text as transaction,
      t.actor_type || coalesce(':' || t.actor_id, '') as actor
    from threadline.audit_changes c
    join threadline.audit_transactions t on t.id = c.transaction_id
    order by c.id
  `
)

/** The rows of audit_transactions, in order; images of them as they are. */
export const transactions = Effect.flatMap(
  Owner,
  (owner) => owner<{ readonly [column: string]: unknown }>`
    select id::text, actor_type, actor_id, actor, correlation_id, request_id, job_id, trace_id, source,
      host(remote_ip) as remote_ip, meta, action_id::text, context_error, xid::text
    from threadline.audit_transactions t
    order by t.id
  `
)

export const actions = Effect.flatMap(
  Owner,
  (owner) => owner<{ readonly [column: string]: unknown }>`
    select id::text, transaction_id::text, name, status, actor_type, actor_id, verb, category, reason, comment,
      correlation_id, request_id, subject_type, subject_id, data
    from threadline.audit_actions a
    order by a.id
  `
)

export const postIds = Effect.flatMap(Owner, (owner) =>
  Effect.map(owner<{ readonly id: number }>`select id from posts order by id`, (rows) => rows.map(({ id }) => id))
)

export const insertPost = (id: number) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into posts (id, title) values (${id}, ${`post ${id}`})`)

/** Checks that no session of the application is inside a transaction, and that each can be used. */
export const poolIsClean = (connections: number) =>
  Effect.gen(function* () {
    const owner = yield* Owner
    const sql = yield* SqlClient.SqlClient
    const all = yield* Effect.all(
      Array.from({ length: connections }, () => sql<{ readonly pid: number }>`select pg_backend_pid() as pid`),
      { concurrency: "unbounded" }
    )
    const [open] = yield* owner<{ readonly count: number }>`
      select count(*)::int as count
      from pg_stat_activity
      where datname = current_database() and usename <> current_user and state like 'idle in transaction%'
    `
    return all.length === connections && open?.count === 0
  })

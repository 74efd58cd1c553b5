/** Every client that has an entry point, behind one face; what the tests write goes through each client's own interface. */
import { PrismaPg } from "@prisma/adapter-pg"
import { drizzle as drizzleNodePg } from "drizzle-orm/node-postgres"
import { drizzle as drizzlePostgresJs } from "drizzle-orm/postgres-js"
import { integer, pgTable, text } from "drizzle-orm/pg-core"
import { CamelCasePlugin, Kysely, PostgresDialect, sql as kyselySql } from "kysely"
import pg from "pg"
import postgres from "postgres"
import "reflect-metadata"
import { DataSource, EntitySchema } from "typeorm"
import type * as ClientAdapter from "../../src/ClientAdapter.js"
import * as onDrizzle from "../../src/drizzle.js"
import * as onKysely from "../../src/kysely.js"
import * as onPg from "../../src/pg.js"
import * as onPostgres from "../../src/postgres.js"
import * as onPrisma from "../../src/prisma.js"
import * as onTypeorm from "../../src/typeorm.js"
import type { Action } from "../../src/Semantics.js"
import { PrismaClient } from "./prisma/client/client.js"

/** What a test does in a transaction. */
export interface Writer {
  readonly insert: (id: number) => Promise<unknown>
  /** A statement that fails. */
  readonly fail: () => Promise<unknown>
  readonly count: () => Promise<unknown>
  /** A savepoint as the client makes it. */
  readonly savepoint: (body: (writer: Writer) => Promise<void>) => Promise<unknown>
  /** A ROLLBACK of the host's own, inside a transaction of the client's. */
  readonly rollback: () => Promise<unknown>
  /** Makes COMMIT end the session. */
  readonly burn: () => Promise<unknown>
  readonly audited: Audited
  readonly record: (action: Action, options?: ClientAdapter.RecordOptions) => Promise<string>
}

type Options<A> = Omit<ClientAdapter.Options<A, never>, "transaction">

export type Audited = <A>(
  options: Options<A>,
  body: (writer: Writer, recorder: ClientAdapter.Recorder) => Promise<A>
) => Promise<A>

export interface Plain {
  readonly audited: Audited
  readonly serializable: Audited
  readonly record: Writer["record"]
  /** A transaction that the host opens itself. */
  readonly own: (body: (writer: Writer) => Promise<void>) => Promise<unknown>
  readonly isolation: (writer: Writer) => Promise<unknown>
  readonly close: () => Promise<unknown>
}

interface Made<Db, Tx> {
  readonly audited: <A>(
    db: Db | Tx,
    options: Options<A>,
    body: (tx: Tx, recorder: ClientAdapter.Recorder) => Promise<A>
  ) => Promise<A>
  readonly serializable: <A>(
    db: Db,
    options: Options<A>,
    body: (tx: Tx, recorder: ClientAdapter.Recorder) => Promise<A>
  ) => Promise<A>
  readonly record: (db: Db | Tx, action: Action, options?: ClientAdapter.RecordOptions) => Promise<string>
  readonly insert: (tx: Tx, id: number) => Promise<unknown>
  readonly query: (tx: Tx, text: string) => Promise<unknown>
  readonly own: (db: Db, body: (tx: Tx) => Promise<void>) => Promise<unknown>
  /** If the client has savepoints of its own. */
  readonly savepoint?: (tx: Tx, body: (tx: Tx) => Promise<void>) => Promise<unknown>
  readonly close: (db: Db) => Promise<unknown>
}

const plain = <Db, Tx>(db: Db, client: Made<Db, Tx>): Plain => {
  const writers = new WeakMap<Writer, Tx>()
  const writer = (tx: Tx): Writer => {
    const made: Writer = {
      insert: (id) => client.insert(tx, id),
      fail: () => client.query(tx, "select 1 / 0"),
      count: () => client.query(tx, "select count(*)::int from posts"),
      savepoint: async (body) => {
        if (client.savepoint !== undefined) {
          return client.savepoint(tx, (inner) => body(writer(inner)))
        }
        await client.query(tx, "savepoint host")
        try {
          await body(writer(tx))
          return await client.query(tx, "release savepoint host")
        } catch (error) {
          await client.query(tx, "rollback to savepoint host")
          throw error
        }
      },
      rollback: () => client.query(tx, "rollback"),
      burn: () => client.query(tx, "insert into fuses (id, what) values (1, 'terminate')"),
      audited: (options, body) => client.audited(tx, options, (inner, recorder) => body(writer(inner), recorder)),
      record: (action, options) => client.record(tx, action, options)
    }
    writers.set(made, tx)
    return made
  }
  return {
    audited: (options, body) => client.audited(db, options, (tx, recorder) => body(writer(tx), recorder)),
    serializable: (options, body) => client.serializable(db, options, (tx, recorder) => body(writer(tx), recorder)),
    record: (action, options) => client.record(db, action, options),
    own: (body) => client.own(db, (tx) => body(writer(tx))),
    isolation: (given) => client.query(writers.get(given) as Tx, "show transaction_isolation"),
    close: () => client.close(db)
  }
}

const posts = pgTable("posts", { id: integer("id").primaryKey(), title: text("title").notNull() })

const title = (id: number): string => `post ${id}`

const Post = new EntitySchema<{ id: number; title: string }>({
  name: "Post",
  tableName: "posts",
  columns: { id: { type: Number, primary: true }, title: { type: String } }
})

interface Tables {
  readonly posts: { readonly id: number; readonly title: string }
}

/** A client that loses its connection says so as an event, and so does its pool. It ends the process if nobody listens. */
export const listening = (pool: pg.Pool): pg.Pool =>
  pool.on("error", () => undefined).on("connect", (client) => void client.on("error", () => undefined))

export const clients: Readonly<Record<string, (url: string) => Plain | Promise<Plain>>> = {
  "a pool of pg": (url) =>
    plain<pg.Pool, pg.PoolClient>(listening(new pg.Pool({ connectionString: url, max: 3 })), {
      audited: (db, options, body) =>
        db instanceof pg.Pool ? onPg.audited(db, options, body) : onPg.audited(db, options, body),
      serializable: (db, options, body) => onPg.audited(db, { ...options, transaction: "serializable" }, body),
      record: onPg.record,
      insert: (tx, id) => tx.query("insert into posts (id, title) values ($1, $2)", [id, title(id)]),
      query: (tx, statement) => tx.query(statement),
      own: async (db, body) => {
        const client = await db.connect()
        try {
          await client.query("begin")
          await body(client)
          await client.query("commit")
        } catch (error) {
          await client.query("rollback")
          throw error
        } finally {
          client.release()
        }
      },
      close: (db) => db.end()
    }),
  "a client of pg": async (url) => {
    const client = new pg.Client({ connectionString: url }).on("error", () => undefined)
    await client.connect()
    return plain<pg.Client, pg.Client>(client, {
      audited: onPg.audited,
      serializable: (db, options, body) => onPg.audited(db, { ...options, transaction: "serializable" }, body),
      record: onPg.record,
      insert: (tx, id) => tx.query("insert into posts (id, title) values ($1, $2)", [id, title(id)]),
      query: (tx, statement) => tx.query(statement),
      own: async (db, body) => {
        try {
          await db.query("begin")
          await body(db)
          await db.query("commit")
        } catch (error) {
          await db.query("rollback")
          throw error
        }
      },
      close: (db) => db.end()
    })
  },
  "postgres.js": (url) =>
    plain<postgres.Sql, postgres.TransactionSql>(postgres(url, { max: 3, onnotice: () => undefined }), {
      audited: onPostgres.audited,
      serializable: (db, options, body) =>
        onPostgres.audited(db, { ...options, transaction: "isolation level serializable" }, body),
      record: onPostgres.record,
      insert: async (tx, id) => tx`insert into posts ${tx({ id, title: title(id) })}`,
      query: async (tx, statement) => tx.unsafe(statement),
      own: (db, body) => db.begin(body),
      savepoint: (tx, body) => tx.savepoint(body),
      // Without a limit, it waits for ever for a connection that was lost.
      close: (db) => db.end({ timeout: 0.1 })
    }),
  "Drizzle on pg": (url) => {
    const pool = listening(new pg.Pool({ connectionString: url, max: 3 }))
    const database = drizzleNodePg(pool)
    type Db = typeof database
    return plain<Db, Parameters<Parameters<Db["transaction"]>[0]>[0]>(database, {
      audited: onDrizzle.audited,
      serializable: (db, options, body) =>
        onDrizzle.audited(db, { ...options, transaction: { isolationLevel: "serializable" } }, body),
      record: onDrizzle.record,
      insert: async (tx, id) => tx.insert(posts).values({ id, title: title(id) }),
      query: async (tx, statement) => (await tx.execute(statement)).rows,
      own: (db, body) => db.transaction(body),
      savepoint: (tx, body) => tx.transaction(body),
      close: () => pool.end()
    })
  },
  "Drizzle on postgres.js": (url) => {
    const connection = postgres(url, { max: 3, onnotice: () => undefined })
    const database = drizzlePostgresJs(connection)
    type Db = typeof database
    return plain<Db, Parameters<Parameters<Db["transaction"]>[0]>[0]>(database, {
      audited: onDrizzle.audited,
      serializable: (db, options, body) =>
        onDrizzle.audited(db, { ...options, transaction: { isolationLevel: "serializable" } }, body),
      record: onDrizzle.record,
      insert: async (tx, id) => tx.insert(posts).values({ id, title: title(id) }),
      query: async (tx, statement) => tx.execute(statement),
      own: (db, body) => db.transaction(body),
      savepoint: (tx, body) => tx.transaction(body),
      close: () => connection.end({ timeout: 0.1 })
    })
  },
  Kysely: (url) => {
    const database = new Kysely<Tables>({
      dialect: new PostgresDialect({ pool: listening(new pg.Pool({ connectionString: url, max: 3 })) }),
      plugins: [new CamelCasePlugin()]
    })
    return plain<Kysely<Tables>, Parameters<Parameters<ReturnType<typeof database.transaction>["execute"]>[0]>[0]>(
      database,
      {
        audited: (db, options, body) => onKysely.audited(db, options, body),
        serializable: (db, options, body) => onKysely.audited(db, { ...options, transaction: "serializable" }, body),
        record: onKysely.record,
        insert: (tx, id) =>
          tx
            .insertInto("posts")
            .values({ id, title: title(id) })
            .execute(),
        query: async (tx, statement) => (await kyselySql.raw(statement).execute(tx)).rows,
        own: (db, body) => db.transaction().execute(body),
        close: (db) => db.destroy()
      }
    )
  },
  Prisma: (url) =>
    plain<PrismaClient, Parameters<Parameters<PrismaClient["$transaction"]>[0]>[0]>(
      new PrismaClient({ adapter: new PrismaPg({ connectionString: url, max: 3 }) }),
      {
        audited: (db, options, body) => onPrisma.audited(db, options, body),
        serializable: (db, options, body) =>
          onPrisma.audited(db, { ...options, transaction: { isolationLevel: "Serializable" } }, body),
        record: onPrisma.record,
        insert: (tx, id) => tx.post.create({ data: { id, title: title(id) } }),
        query: (tx, statement) => tx.$queryRawUnsafe(statement),
        own: (db, body) => db.$transaction(body),
        close: (db) => db.$disconnect()
      }
    ),
  TypeORM: async (url) => {
    const source = await new DataSource({
      type: "postgres",
      url,
      entities: [Post],
      extra: { max: 3 },
      installExtensions: false
    }).initialize()
    return plain<DataSource, DataSource["manager"]>(source, {
      audited: (db, options, body) => onTypeorm.audited(db, options, body),
      serializable: (db, options, body) => onTypeorm.audited(db, { ...options, transaction: "SERIALIZABLE" }, body),
      record: onTypeorm.record,
      insert: (tx, id) => tx.insert(Post, { id, title: title(id) }),
      query: (tx, statement) => tx.query(statement),
      own: (db, body) => db.transaction(body),
      savepoint: (tx, body) => tx.transaction(body),
      close: (db) => db.destroy()
    })
  }
}

/** Every client that has an entry point, behind one face; what the tests write goes through each client's own interface. */
import { PrismaPg } from "@prisma/adapter-pg"
import { drizzle as drizzleNodePg } from "drizzle-orm/node-postgres"
import { drizzle as drizzlePostgresJs } from "drizzle-orm/postgres-js"
import { eq, gte, sql, type ExtractTablesWithRelations } from "drizzle-orm"
import { integer, pgTable, text, type PgQueryResultHKT, type PgTransaction } from "drizzle-orm/pg-core"
import { CamelCasePlugin, Kysely, PostgresDialect, sql as kyselySql } from "kysely"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { fileURLToPath } from "node:url"
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

export type Built = Readonly<Record<string, () => PromiseLike<unknown>>>

/** What a test does in a transaction. */
export interface Writer {
  readonly insert: (id: number) => Promise<unknown>
  /** A statement that fails. */
  readonly fail: () => Promise<unknown>
  readonly count: () => Promise<unknown>
  /** Queries of every kind that the client has, built and not sent, each by what sends it. Some insert ids from the given one on. */
  readonly built: (id: number) => Built
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
  readonly built: (tx: Tx, id: number) => Built
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
      built: (id) => client.built(tx, id),
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

const schema = { posts }

type DrizzleTransaction = PgTransaction<PgQueryResultHKT, typeof schema, ExtractTablesWithRelations<typeof schema>>

const title = (id: number): string => `post ${id}`

const builtByPostgres = (tx: postgres.TransactionSql, id: number): Built => {
  const insert = (more: number) => tx`insert into posts ${tx({ id: id + more, title: title(id + more) })} returning id`
  const [plain, raw, values, executed, each, cursor, called] = [0, 1, 2, 3, 4, 5, 6].map(insert)
  const simple = tx`select 1 as one`
  const described = tx`select id from posts where id = ${id}`
  const unsafe = tx.unsafe("select title from posts where id = $1", [id])
  const copied = tx`copy posts (id, title) from stdin`
  const copy = tx`copy (select id from posts where id >= ${tx.unsafe(String(id))} order by id) to stdout`
  const inFile = tx.file(fileURLToPath(new URL("count.sql", import.meta.url)))
  const rows = cursor?.cursor(1)
  return {
    plain: async () => [...((await plain) ?? [])],
    raw: async () => [...((await raw?.raw()) ?? [])],
    values: async () => [...((await values?.values()) ?? [])],
    executed: async () => [...((await executed?.execute()) ?? [])],
    each: async () => {
      const seen: Array<unknown> = []
      await each?.forEach((row) => void seen.push(row))
      return seen
    },
    cursor: async () => {
      const seen: Array<unknown> = []
      for await (const part of rows ?? []) {
        seen.push(...part)
      }
      return seen
    },
    called: async () => {
      const seen: Array<unknown> = []
      await called?.cursor(1, (part) => void seen.push(...part))
      return seen
    },
    simple: async () => [...(await simple.simple())],
    described: async () => (await described.describe()).columns.map((column) => column.name),
    unsafe: async () => [...(await unsafe)],
    copied: async () => pipeline(Readable.from([`${id + 7}\tcopied\n`]), await copied.writable()),
    copy: async () => String(Buffer.concat(await (await copy.readable()).toArray())),
    file: async () => [...(await inFile)]
  }
}

/** What both drivers of Drizzle share. */
const builtByDrizzle = (tx: DrizzleTransaction, id: number): Built => {
  const insert = tx.insert(posts).values({ id, title: title(id) })
  const returning = tx
    .insert(posts)
    .values({ id: id + 1, title: title(id + 1) })
    .returning()
  const prepared = tx
    .insert(posts)
    .values({ id: sql.placeholder("id"), title: "prepared" })
    .returning()
    .prepare(`insert${id}`)
  const select = tx.select({ id: posts.id }).from(posts).where(gte(posts.id, id)).orderBy(posts.id)
  const update = tx.update(posts).set({ title: "new" }).where(eq(posts.id, id)).returning()
  const execute = tx.execute(sql`select 1 as one`)
  const relational = tx.query.posts.findMany({ where: gte(posts.id, id) })
  const preparedRelational = tx.query.posts
    .findFirst({ where: eq(posts.id, sql.placeholder("id")) })
    .prepare(`find${id}`)
  const count = tx.$count(posts)
  const unfinished = tx.delete(posts)
  return {
    insert: async () => void (await insert),
    returning: () => returning.execute(),
    prepared: () => prepared.execute({ id: id + 2 }),
    select: () => select,
    update: () => update,
    execute: async () => JSON.stringify(await execute),
    relational: () => relational,
    "relational, prepared": () => preparedRelational.execute({ id }),
    count: () => count,
    unfinished: () => unfinished.where(eq(posts.id, id)).returning()
  }
}

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
      built: (tx, id) => ({
        query: async () => (await tx.query("insert into posts (id, title) values ($1, 'x') returning *", [id])).rows
      }),
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
      built: (tx, id) => ({
        query: async () => (await tx.query("insert into posts (id, title) values ($1, 'x') returning *", [id])).rows
      }),
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
      built: builtByPostgres,
      own: (db, body) => db.begin(body),
      savepoint: (tx, body) => tx.savepoint(body),
      // Without a limit, it waits for ever for a connection that was lost.
      close: (db) => db.end({ timeout: 0.1 })
    }),
  "Drizzle on pg": (url) => {
    const pool = listening(new pg.Pool({ connectionString: url, max: 3 }))
    const database = drizzleNodePg(pool, { schema })
    type Db = typeof database
    return plain<Db, Parameters<Parameters<Db["transaction"]>[0]>[0]>(database, {
      audited: onDrizzle.audited,
      serializable: (db, options, body) =>
        onDrizzle.audited(db, { ...options, transaction: { isolationLevel: "serializable" } }, body),
      record: onDrizzle.record,
      insert: async (tx, id) => tx.insert(posts).values({ id, title: title(id) }),
      query: async (tx, statement) => (await tx.execute(statement)).rows,
      built: builtByDrizzle,
      own: (db, body) => db.transaction(body),
      savepoint: (tx, body) => tx.transaction(body),
      close: () => pool.end()
    })
  },
  "Drizzle on postgres.js": (url) => {
    const connection = postgres(url, { max: 3, onnotice: () => undefined })
    const database = drizzlePostgresJs(connection, { schema })
    type Db = typeof database
    return plain<Db, Parameters<Parameters<Db["transaction"]>[0]>[0]>(database, {
      audited: onDrizzle.audited,
      serializable: (db, options, body) =>
        onDrizzle.audited(db, { ...options, transaction: { isolationLevel: "serializable" } }, body),
      record: onDrizzle.record,
      insert: async (tx, id) => tx.insert(posts).values({ id, title: title(id) }),
      query: async (tx, statement) => tx.execute(statement),
      built: builtByDrizzle,
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
        built: (tx, id) => {
          const insert = tx
            .insertInto("posts")
            .values({ id, title: title(id) })
            .returningAll()
          const raw = kyselySql<{ one: number }>`select 1 as one`
          const compiled = tx.selectFrom("posts").select("id").where("id", ">=", id).compile()
          return {
            insert: () => insert.execute(),
            raw: async () => (await raw.execute(tx)).rows,
            compiled: async () => (await tx.executeQuery(compiled)).rows
          }
        },
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
        built: (tx, id) => {
          const create = tx.post.create({ data: { id, title: title(id) } })
          const raw = tx.$queryRawUnsafe("select 1 as one")
          return { create: () => create, raw: () => raw }
        },
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
      built: (tx, id) => {
        const insert = tx
          .createQueryBuilder()
          .insert()
          .into(Post)
          .values({ id, title: title(id) })
          .returning("*")
        const repository = tx.getRepository(Post)
        return {
          insert: async () => (await insert.execute()).raw as unknown,
          repository: () => repository.findBy({ id })
        }
      },
      own: (db, body) => db.transaction(body),
      savepoint: (tx, body) => tx.transaction(body),
      close: (db) => db.destroy()
    })
  }
}

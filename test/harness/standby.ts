/**
 * A hot standby of a test's own server, with the server's binaries alone: a copy of its files taken while it runs.
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type pg from "pg"
import { appendFile, chown, copyFile, mkdir, readdir, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import * as Installation from "./Installation.js"
import { rawClient } from "./rawClient.js"
import * as TestCluster from "./TestCluster.js"

export interface Standby {
  readonly cluster: TestCluster.TestCluster
  /** It has its primary's passwords. */
  readonly urlOf: (database: string) => string
  readonly rawClient: (database?: string) => Effect.Effect<pg.Client, SqlError, Scope.Scope>
  /** Waits until everything is replayed that the primary has written by now. */
  readonly caughtUp: Effect.Effect<void>
}

// Not copied: the server writes them anew, or the standby fetches them.
const left = new Set(["postmaster.pid", "postmaster.opts", "pg_wal", "pg_replslot", "pg_dynshmem", "pg_stat_tmp"])

const copyInto = async (from: string, to: string, owned: (path: string) => Promise<void>): Promise<void> => {
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const target = join(to, entry.name)
    if (entry.isDirectory()) {
      await mkdir(target, { mode: 0o700 })
      await owned(target)
    }
    if (left.has(entry.name)) {
      continue
    }
    if (entry.isDirectory()) {
      await copyInto(join(from, entry.name), target, owned)
    } else {
      await copyFile(join(from, entry.name), target)
      await owned(target)
    }
  }
}

/** Makes and starts a standby of a running server; the scope stops it and removes its files. */
export const make = (
  primary: TestCluster.TestCluster
): Effect.Effect<Standby, SqlError | TestCluster.ClusterError, Scope.Scope> =>
  Effect.gen(function* () {
    const admin = yield* primary.rawClient()
    const cluster = yield* TestCluster.make({ postgres: primary.major })
    yield* cluster.stop("immediate")
    yield* Effect.promise(async () => {
      const user = Installation.serverUser()
      const owned = async (path: string) => {
        if (user !== undefined) {
          await chown(path, user.uid, user.gid)
        }
      }
      const data = cluster.dataDirectory
      for (const entry of await readdir(data)) {
        await rm(join(data, entry), { recursive: true })
      }
      await admin.query("select pg_backup_start('standby', true)")
      await copyInto(primary.dataDirectory, data, owned)
      const stopped = await admin.query<{ labelfile: string }>("select labelfile from pg_backup_stop(false)")
      const { password, port, username } = new URL(primary.url)
      for (const [file, text] of [
        ["backup_label", stopped.rows[0]?.labelfile ?? ""],
        ["standby.signal", ""]
      ] as const) {
        await writeFile(join(data, file), text)
        await owned(join(data, file))
      }
      await appendFile(
        join(data, "postgresql.auto.conf"),
        `primary_conninfo = 'host=127.0.0.1 port=${port} user=${username} password=${password}'\n`
      )
    })
    yield* cluster.start
    const urlOf = (database: string) => {
      const url = new URL(primary.urlOf(database))
      url.port = String(cluster.port)
      return url.href
    }
    const watch = yield* rawClient(urlOf("postgres"))
    const caughtUp = Effect.promise(async () => {
      const { rows } = await admin.query<{ lsn: string }>("select pg_current_wal_insert_lsn()::text as lsn")
      return rows[0]?.lsn ?? ""
    }).pipe(
      Effect.flatMap((lsn) =>
        Effect.promise(async () => {
          const { rows } = await watch.query<{ done: boolean }>(
            `select pg_last_wal_replay_lsn() >= '${lsn}'::pg_lsn as done`
          )
          return rows[0]?.done
        }).pipe(Effect.repeat({ schedule: Schedule.spaced("10 millis"), until: (done) => done === true }))
      ),
      Effect.asVoid
    )
    return { cluster, urlOf, rawClient: (database = "postgres") => rawClient(urlOf(database)), caughtUp }
  })

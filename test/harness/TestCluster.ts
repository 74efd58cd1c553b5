/**
 * A PostgreSQL server of a test's own, made in about a second and gone with its scope. It also goes when this process is killed.
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { statfsSync } from "node:fs"
import { freemem, tmpdir } from "node:os"
import { dirname } from "node:path"
import type pg from "pg"
import * as Cluster from "../../cli/demo/cluster.js"
import * as Installation from "./Installation.js"
import { rawClient } from "./rawClient.js"

export { ClusterError } from "../../cli/demo/cluster.js"

export interface Options {
  /** Which binaries; by default those the whole test run uses. */
  readonly postgres?: Installation.Choice | undefined
  /** Takes the newest binaries that come with `psql`, `pg_dump` and `pg_restore`, whatever the test run uses. */
  readonly tools?: boolean | undefined
  /** Server settings on top of those of the harness. */
  readonly settings?: Readonly<Record<string, string>> | undefined
}

export interface TestCluster extends Cluster.Cluster {
  /** Superuser URL of the database `postgres`. */
  readonly url: string
  /** A superuser's session of node-postgres; in `postgres` where no database is named. */
  readonly rawClient: (database?: string) => Effect.Effect<pg.Client, SqlError, Scope.Scope>
  readonly major: number
  /** The directory of its Unix socket, if it has one. */
  readonly socketDirectory: string | undefined
}

// Survives a crash of the server, not of the machine. An ICU default collation, so that an order that forgets `collate "C"` shows.
const initdbFlags = ["--no-locale", "--locale-provider=icu", "--icu-locale=en-US"]

const baseSettings: Readonly<Record<string, string>> = {
  listen_addresses: "127.0.0.1",
  // Beside the data directory. A path of macOS may be too long for a socket.
  unix_socket_directories: process.platform === "linux" ? ".." : "",
  fsync: "off",
  full_page_writes: "off",
  max_connections: "200",
  max_prepared_transactions: "20",
  // Compiling a statement costs more than running it does: what a test reads is small.
  jit: "off",
  // It takes locks that no test has asked for. What a test fills, it analyses itself.
  autovacuum: "off",
  shared_buffers: "128MB",
  max_wal_size: "512MB",
  timezone: "UTC",
  log_timezone: "UTC"
}

/** From PostgreSQL 18 on, other processes would read for a session what is in memory anyway. */
const settingsOf = (major: number): Readonly<Record<string, string>> =>
  major < 18 ? baseSettings : { ...baseSettings, io_method: "sync" }

/**
 * A session keeps the memory that it has used, in large pages. The C library would give much of it back after each long statement, and the
 * next one would get it anew, page by page: on a virtual machine that is more work than planning the statement. Other C libraries than
 * glibc do not read this.
 */
const environment: Readonly<Record<string, string>> = {
  GLIBC_TUNABLES: [
    "glibc.malloc.hugetlb=1",
    `glibc.malloc.trim_threshold=${2 ** 26}`,
    `glibc.malloc.mmap_threshold=${2 ** 26}`,
    `glibc.malloc.top_pad=${2 ** 22}`
  ].join(":")
}

/** What `/dev/shm` and the memory must have free. The clusters of a run hold one gigabyte at most, and most of it is WAL. */
const room = 3 * 2 ** 30

/**
 * Where clusters are made: in memory if there is room. A database has 330 files; on a disk, making and dropping them takes ten
 * times as long as in memory, and is half of what the server does for a short test.
 */
const place = (): string => {
  try {
    const { bavail, bsize, type } = statfsSync("/dev/shm")
    return type === 0x01021994 && bavail * bsize >= room && freemem() >= room ? "/dev/shm" : tmpdir()
  } catch {
    // Not on Linux.
    return tmpdir()
  }
}

/** Makes and starts a server; the scope stops it and removes its files. */
export const make = (options: Options = {}): Effect.Effect<TestCluster, Cluster.ClusterError, Scope.Scope> =>
  Effect.gen(function* () {
    const chosen = yield* Effect.try({
      try: () => {
        const chosenInstallation =
          options.tools === true ? Installation.withTools() : Installation.select(options.postgres)
        if (chosenInstallation === undefined) {
          throw new Error("this machine has no PostgreSQL with psql, pg_dump and pg_restore")
        }
        return chosenInstallation
      },
      catch: (cause) =>
        new Cluster.ClusterError({ message: cause instanceof Error ? cause.message : String(cause), cause })
    })
    const cluster = yield* Cluster.make({
      binDirectory: chosen.binDirectory,
      movable: chosen.kind === "embedded",
      parent: place(),
      initdbFlags,
      settings: { ...settingsOf(chosen.major), ...options.settings },
      environment
    })
    return {
      ...cluster,
      url: cluster.urlOf("postgres"),
      rawClient: (database = "postgres") => rawClient(cluster.urlOf(database)),
      major: chosen.major,
      socketDirectory: process.platform === "linux" ? dirname(cluster.dataDirectory) : undefined
    }
  })

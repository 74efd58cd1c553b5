/**
 * Bytes of indexes a change takes in a month that is over: as they grew, and packed as `Retention.maintain` packs them. It is a
 * month of the history that reads are measured on.
 */
import * as Effect from "effect/Effect"
import { businessYear } from "./businessYear.js"
import * as Options from "./options.js"
import { Session } from "./server.js"

const { json, keep, transactions } = Options.options("Bytes of indexes a change takes in a month that is over.", {
  ...Options.historyOptions,
  json: Options.json
})

/** `Retention.maintain` rebuilds an index that is so many times as large as a full one. */
const loose = 1.25

export interface Sized {
  readonly index: string
  /** Bytes a change. */
  readonly grown: number
  readonly packed: number
}

const bench = Effect.gen(function* () {
  const { url } = yield* businessYear({
    transactions,
    keep,
    progress: (text) => {
      if (!json) process.stderr.write(`${text}\n`)
    }
  })
  return yield* Effect.promise(async () => {
    const session = await Session.open(url)
    try {
      const [server = ""] = await session.column("show server_version")
      // The last month but two: the last ones are smaller, or still written.
      const [leaf = ""] = await session.column(`
        select c.oid::regclass::text
        from pg_partition_tree('threadline.audit_changes') p
        join pg_class c on c.oid = p.relid and p.isleaf and c.reltuples > 0
        order by c.relname desc
        offset 2
        limit 1`)
      const [changes = "0"] = await session.column(`select count(*)::text from ${leaf}`)
      const names = await session.column(
        `select indexrelid::regclass::text from pg_index where indrelid = '${leaf}'::regclass order by 1`
      )
      const size = async (index: string): Promise<number> =>
        Number((await session.column(`select pg_relation_size('${index}')::text`))[0]) / Number(changes)
      const indexes: Array<Sized> = []
      for (const index of names) {
        const grown = await size(index)
        // Rolled back: the next run finds the month as it was.
        await session.run("begin")
        const [method = ""] = await session.column(
          `select m.amname::text from pg_class c join pg_am m on m.oid = c.relam where c.oid = '${index}'::regclass`
        )
        await session.run(
          ...(method === "btree" ? [`alter index ${index} set (fillfactor = 100)`] : []),
          `reindex index ${index}`
        )
        const full = await size(index)
        await session.run("rollback")
        indexes.push({ index, grown, packed: method === "btree" && grown > loose * full ? full : grown })
      }
      return { server, partition: leaf, changes: Number(changes), indexes }
    } finally {
      await session.close()
    }
  })
})

const result = await Effect.runPromise(Effect.scoped(bench))
const sum = (of: "grown" | "packed"): number => result.indexes.reduce((total, index) => total + index[of], 0)
console.log(
  json
    ? JSON.stringify({ ...result, grown: sum("grown"), packed: sum("packed") }, null, 2)
    : [
        `PostgreSQL ${result.server}; ${result.partition}, ${result.changes} changes; bytes of indexes a change`,
        "",
        `${"".padEnd(76)}   grown  packed`,
        ...[...result.indexes, { index: "all", grown: sum("grown"), packed: sum("packed") }].map(
          ({ grown, index, packed }) =>
            `${index.padEnd(76)}${grown.toFixed(1).padStart(8)}${packed.toFixed(1).padStart(8)}`
        )
      ].join("\n")
)

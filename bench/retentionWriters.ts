/** The writers beside a purge: three sessions that write audited rows between "begin" and "end", and then answer with the milliseconds of each. */
import pg from "pg"

const clients = [1, 2, 3].map(() => new pg.Client({ connectionString: process.argv[2] }))
await Promise.all(clients.map((client) => client.connect()))

let isOver = false

const samplesOf = async (client: pg.Client, name: number): Promise<ReadonlyArray<number>> => {
  const samples: Array<number> = []
  for (let i = 0; !isOver; i++) {
    const started = performance.now()
    await client.query(
      `begin; select threadline.set_context('{"actor": {"type": "user", "id": "w"}}');
      insert into bench_rows values ('${String(name)}-${String(i)}-${String(Math.random())}', 'x'); commit`
    )
    samples.push(performance.now() - started)
  }
  return samples
}

process.on("message", (word) => {
  isOver = word === "end"
  if (word === "begin") {
    void Promise.all(clients.map(samplesOf)).then((samples) => process.send?.(samples.flat()))
  }
})
process.send?.("ready")

/** Actors, rows, instants and ids of a history to read by, the same for the same history. */
import pg from "pg"

export interface Actor {
  readonly type: "user" | "service_account" | "admin"
  readonly id: string
}

export interface Row {
  readonly table: string
  readonly key: string
  readonly at: string
}

export interface Samples {
  readonly middleActors: ReadonlyArray<Actor>
  readonly rareActors: ReadonlyArray<Actor>
  readonly rows: ReadonlyArray<Row>
  readonly moved: ReadonlyArray<Row>
  readonly correlations: ReadonlyArray<string>
  readonly requests: ReadonlyArray<string>
  readonly transactions: ReadonlyArray<string>
  readonly changes: ReadonlyArray<string>
  readonly tickets: ReadonlyArray<string>
  readonly rareActions: ReadonlyArray<string>
  /** Instants across the history, oldest first. */
  readonly instants: ReadonlyArray<string>
  readonly changeCount: number
  readonly transactionCount: number
}

const count = 60

const statements: Readonly<Record<Exclude<keyof Samples, "changeCount" | "transactionCount">, string>> = {
  middleActors: `
    select distinct on (md5(actor_id)) jsonb_build_object('type', actor_type, 'id', actor_id) as item
    from threadline.audit_transactions t
    join picked on picked.transaction = t.id
    where actor_type = 'user' and actor_id::int between 50 and 2000
    order by md5(actor_id)`,
  rareActors: `
    select distinct on (md5(actor_id)) jsonb_build_object('type', actor_type, 'id', actor_id) as item
    from threadline.audit_transactions t
    join picked on picked.transaction = t.id
    where actor_type = 'user' and actor_id::int > 30000
    order by md5(actor_id)`,
  rows: `
    select jsonb_build_object('table', c.table_name, 'key', c.row_key, 'at', iso(c.captured_at)) as item
    from picked
    cross join lateral (
      select * from threadline.audit_changes c where c.transaction_id = picked.transaction order by c.id limit 1
    ) c
    where c.table_name in ('orders', 'order_items', 'customers', 'invoices', 'order_events')
    order by picked.place`,
  moved: `
    select jsonb_build_object('table', table_name, 'key', previous_row_key, 'at', iso(captured_at)) as item
    from threadline.audit_changes
    where previous_row_key is not null
    order by id % 997, id`,
  correlations: `
    select to_jsonb(correlation_id) as item
    from threadline.audit_transactions t
    join picked on picked.transaction = t.id
    where length(correlation_id) = 32
    order by picked.place`,
  requests: `
    select to_jsonb(request_id) as item
    from threadline.audit_transactions t
    join picked on picked.transaction = t.id
    where request_id is not null
    order by picked.place`,
  transactions: `select to_jsonb(transaction::text) as item from picked order by place`,
  changes: `
    select to_jsonb(c.id::text) as item
    from picked
    cross join lateral (
      select id from threadline.audit_changes c where c.transaction_id = picked.transaction order by c.id limit 1
    ) c
    order by picked.place`,
  tickets: `
    select meta -> 'ticket' as item from threadline.audit_transactions where meta ? 'ticket' order by md5(id::text)`,
  rareActions: `
    select to_jsonb(name) as item from threadline.audit_actions group by name order by count(*), name limit 6`,
  instants: `
    select to_jsonb(iso(t.occurred_at)) as item
    from picked
    join threadline.audit_transactions t on t.id = picked.transaction
    where picked.place <= ${count}
    order by t.occurred_at`
}

const preparation = `
  set jit = off;
  create function pg_temp.iso(timestamptz) returns text language sql immutable
  return to_char($1 at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
  create temp table picked as
  select place, 1 + (hashint8extended(place, 99) & 4611686018427387903) % (select max(id) from threadline.audit_transactions)
    as transaction
  from generate_series(1, 3000) place;
  analyze picked;`

export const samples = async (url: string): Promise<Samples> => {
  const client = new pg.Client({ connectionString: url, application_name: "threadline-bench" })
  await client.connect()
  try {
    await client.query(preparation)
    const items = async <A>(name: keyof typeof statements): Promise<ReadonlyArray<A>> => {
      const text = statements[name].replaceAll("iso(", "pg_temp.iso(")
      const { rows } = await client.query<{ readonly item: A }>(`select item from (${text}) s limit ${count}`)
      return rows.map(({ item }) => item)
    }
    const { rows } = await client.query<{ readonly changes: string; readonly transactions: string }>(
      `select (select max(id) from threadline.audit_changes)::text as changes,
        (select max(id) from threadline.audit_transactions)::text as transactions`
    )
    return {
      middleActors: await items<Actor>("middleActors"),
      rareActors: await items<Actor>("rareActors"),
      rows: await items<Row>("rows"),
      moved: await items<Row>("moved"),
      correlations: await items<string>("correlations"),
      requests: await items<string>("requests"),
      transactions: await items<string>("transactions"),
      changes: await items<string>("changes"),
      tickets: await items<string>("tickets"),
      rareActions: await items<string>("rareActions"),
      instants: await items<string>("instants"),
      changeCount: Number(rows[0]?.changes),
      transactionCount: Number(rows[0]?.transactions)
    }
  } finally {
    await client.end()
  }
}

/**
 * Opens the row of the transaction inside the trigger of a single row. It does what `current_transaction` does, without the call.
 * A transaction of one row pays for every function, statement and expression anew. So here the first write of a transaction
 * without a context runs only two expressions and one statement. Less plain cases are left to functions.
 */
import { type Code, code, listed } from "./code.js"

export const openingVariables = code`
  opened bigint;
  of_epoch int;
  raw text;
  doc jsonb;
  wrong text;
`

/**
 * `value` is read together with the images, in a block that catches errors. It raises SQLSTATE `unknown` until a first
 * transaction after a start of the server has made the epoch known.
 */
export const epoch = { value: "session_epoch()", variable: "of_epoch", unknown: "TL006" } as const

/** The columns that are known for every transaction. The id comes from its default. */
const provenance = [
  ["xid", "pg_current_xact_id()"],
  ["epoch", epoch.variable],
  ["occurred_at", "greatest(clock_timestamp(), transaction_timestamp())"],
  ["db_user", "session_user"],
  ["application_name", "current_setting('application_name')"],
  ["client_addr", "inet_client_addr()"],
  ["backend_pid", "pg_backend_pid()"]
] as const

const ofContext = [
  ["actor_type", "doc #>> '{actor,type}'"],
  ["actor_id", "doc #>> '{actor,id}'"],
  ["actor", "doc -> 'actor'"],
  ["correlation_id", "doc ->> 'correlationId'"],
  ["request_id", "doc ->> 'requestId'"],
  ["job_id", "doc ->> 'jobId'"],
  ["trace_id", "doc ->> 'traceId'"],
  ["source", "doc ->> 'source'"],
  ["remote_ip", "(doc ->> 'remoteIp')::inet"],
  ["meta", "coalesce(doc -> 'meta', '{}')"],
  ["context_error", "wrong"]
] as const

const insertTransaction = (values: ReadonlyArray<readonly [column: string, value: string]>): Code => code`
  insert into audit_transactions (
    ${values.map(([column]) => column).join(", ")}
  ) values (
    ${listed(values.map(([, value]) => value))}
  )
  returning id, set_config('threadline.transaction', concat_ws(' ', id, ctid), true) into opened, raw;
`

/** Sets `opened`. Also sets `raw` if, apart from its context, Threadline has seen nothing of this transaction yet. */
export const openTransaction = code`
  if current_setting('threadline.transaction', true) <> '' then
    opened := current_transaction();
  elsif current_setting('threadline.context', true) <> '' then
    raw := current_setting('threadline.context', true);
    begin
      doc := case
        when starts_with(raw, extract(epoch from transaction_timestamp())::text || ' ') then substr(raw, 19)::jsonb
      end;
      if is_plain_context(doc, raw) is not true then
        select c.doc, c.error into doc, wrong from read_context(raw) c;
      end if;
    exception when others then
      select c.doc, c.error into doc, wrong from read_context(raw) c;
    end;
    ${insertTransaction([...provenance, ...ofContext])}
  else
    ${insertTransaction(provenance)}
  end if;
`

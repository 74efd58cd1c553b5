/** Links to actors, rows, transactions, actions, correlations and requests. */
import type { VNode } from "preact"
import type * as Actor from "../../../Actor.js"
import type * as Query from "../../../Query.js"
import * as TableName from "../../../TableName.js"
import { shortTable } from "../../core/words.js"
import { actorLinkOf, labelOf, rowLinkOf, useSite } from "../site.js"
import { visible } from "../visible.js"
import { Tag } from "./Badge.js"
import { Text } from "./Text.js"

export const css = `
.host{font-size:12px;color:var(--ink3);margin-left:4px}.row code{overflow-wrap:anywhere}
`

const typeName = (type: Actor.Type): string => type.replace("_", " ")

/** `user 42` */
export const actorText = (actor: Actor.Actor): string =>
  actor.type === "anonymous" ? "anonymous" : `${typeName(actor.type)} ${actor.id}`

const HostLink = ({ href, name }: { readonly href: string | undefined; readonly name: string }): VNode | null =>
  href === undefined ? null : (
    <a class="host" href={href} rel="noreferrer" aria-label={`${visible(name)} in the application`}>
      open ↗
    </a>
  )

export const ActorName = ({
  actor,
  impersonation = true
}: {
  readonly actor: Actor.Actor
  readonly impersonation?: boolean
}): VNode => {
  const site = useSite()
  const label = labelOf(site, { _tag: "Actor", actor }) ?? actor.label
  const name = actorText(actor)
  return (
    <>
      <a href={site.to.actor(actor.type, actor.type === "anonymous" ? undefined : actor.id)}>
        <Text text={name} limit={80} />
        {label === undefined ? null : (
          <>
            {" · "}
            <Text text={label} limit={80} />
          </>
        )}
      </a>
      <HostLink href={actorLinkOf(site, actor)} name={name} />
      {impersonation && actor.impersonator !== undefined ? (
        <span class="sub">
          {" "}
          by <ActorName actor={actor.impersonator} />
        </span>
      ) : null}
    </>
  )
}

/** The actor of a transaction. If there is none, the database user and the application. */
export const Who = ({ transaction }: { readonly transaction: Query.AuditTransaction }): VNode =>
  transaction.actor === null ? (
    <>
      <Tag tone="warn">no actor</Tag>{" "}
      <span class="sub">
        {transaction.dbUser === null ? null : (
          <>
            database user{" "}
            <code>
              <Text text={transaction.dbUser} limit={63} />
            </code>
          </>
        )}
        {transaction.applicationName === null || transaction.applicationName === "" ? null : (
          <>
            , <Text text={transaction.applicationName} limit={63} />
          </>
        )}
      </span>
    </>
  ) : (
    <ActorName actor={transaction.actor} />
  )

export const tableOf = (change: { readonly tableSchema: string; readonly tableName: string }): string =>
  TableName.format({ schema: change.tableSchema, name: change.tableName })

/** A row as a link to its history. Without a key, only the name of its table. */
export const RowName = ({
  at,
  change
}: {
  readonly change: Pick<Query.Change, "tableSchema" | "tableName" | "rowKey" | "rowPk">
  /** The instant that the page of the row should show. */
  readonly at?: string
}): VNode => {
  const site = useSite()
  const table = tableOf(change)
  const { rowKey } = change
  if (rowKey === null) {
    return (
      <span class="row">
        <Text text={shortTable(table)} />
      </span>
    )
  }
  const row = { table, key: rowKey, rowPk: change.rowPk }
  const label = labelOf(site, { _tag: "Row", row })
  return (
    <span class="row">
      <a href={site.to.row(table, rowKey, at === undefined ? {} : { at })}>
        <Text text={shortTable(table)} />{" "}
        <code>
          <Text text={rowKey} limit={60} />
        </code>
      </a>
      {label === undefined ? null : (
        <span class="sub">
          {" "}
          <Text text={label} limit={80} />
        </span>
      )}
      <HostLink href={rowLinkOf(site, row)} name={`${table} ${rowKey}`} />
    </span>
  )
}

export const TransactionName = ({ id }: { readonly id: string }): VNode => (
  <a href={useSite().to.transaction(id)}>transaction {id}</a>
)

export const ActionName = ({
  action,
  transactionId
}: {
  readonly action: { readonly name: string; readonly status: "ok" | "error" }
  readonly transactionId: string | null
}): VNode => {
  const { to } = useSite()
  const name = (
    <b>
      <Text text={action.name} limit={100} />
    </b>
  )
  return (
    <>
      {transactionId === null ? name : <a href={to.transaction(transactionId)}>{name}</a>}
      {action.status === "error" ? (
        <>
          {" "}
          <Tag tone="bad">failed</Tag>
        </>
      ) : null}
    </>
  )
}

export const CorrelationName = ({ id }: { readonly id: string }): VNode => (
  <a href={useSite().to.correlation(id)}>
    <code>
      <Text text={id} limit={60} />
    </code>
  </a>
)

export const RequestName = ({ id }: { readonly id: string }): VNode => (
  <a href={useSite().to.request(id)}>
    <code>
      <Text text={id} limit={60} />
    </code>
  </a>
)

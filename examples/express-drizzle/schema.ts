/** The tables of the shop, for Drizzle and as SQL. */
import { integer, numeric, pgTable, text } from "drizzle-orm/pg-core"

export const invoices = pgTable("invoices", {
  id: integer().primaryKey().generatedAlwaysAsIdentity(),
  customer: text().notNull(),
  state: text().notNull().default("draft"),
  total: numeric({ precision: 12, scale: 2 }).notNull()
})

export const receipts = pgTable("receipts", {
  invoice: integer().primaryKey(),
  sentTo: text("sent_to").notNull()
})

export const createTables = `
  create table if not exists invoices (
    id int generated always as identity primary key,
    customer text not null,
    state text not null default 'draft',
    total numeric(12, 2) not null
  );
  create table if not exists receipts (
    invoice int primary key references invoices,
    sent_to text not null
  )`

/** What is captured. */
export const captured = [{ table: "invoices" }, { table: "receipts", mask: ["sent_to"] }]

create table invoices (
  id int generated always as identity primary key,
  customer text not null,
  total numeric(12, 2) not null
);

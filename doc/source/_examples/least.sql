CREATE DATABASE vmha CHARACTER SET utf8mb4;

-- The programs: vmha-engine, vmha-monitor, vmha-manage, vmha-status and the API.
CREATE USER 'vmha'@'%' IDENTIFIED BY 'PASSWORD';
GRANT SELECT, INSERT, UPDATE, DELETE ON vmha.* TO 'vmha'@'%';

-- "vmha-manage db sync", which makes the tables and changes them in an update.
CREATE USER 'vmha_migrate'@'%' IDENTIFIED BY 'MIGRATE_PASSWORD';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX ON vmha.* TO 'vmha_migrate'@'%';

variable "folder" {
  description = "Folder of the files that `make definitions` writes."
  type        = string
}

variable "repository" {
  description = "Folder of the repository with the code that the files follow from. Without code there, they are not compared with it."
  type        = string
}

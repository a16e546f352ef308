error: the task 'nomod' (nomod:Nothing) cannot be imported: No module named 'nomod'
